//! rowbus beside its peers, in turns in one run: `cargo run --release --manifest-path benches/peers/Cargo.toml`.
//!
//! Every measurement runs in processes of its own, which are this program again in a hidden role. README.md says what
//! each work is, and what makes the comparison fair.

#[cfg(not(target_os = "linux"))]
compile_error!("the peers are measured on Linux alone: it takes futexes and /proc");

mod compare;
mod measure;
mod options;
mod payload;
mod process;
mod report;
mod sample;
mod systems;
mod tally;
mod usage;
mod works;

use options::Options;

fn main() {
    let mut args = std::env::args().skip(1);
    if args.next().as_deref() == Some(process::ROLE) {
        let words: Vec<String> = args.collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        systems::play(&words);
        return;
    }
    match Options::parse(std::env::args().skip(1)) {
        Ok(options) => run(&options),
        Err(usage) => {
            eprintln!("{usage}");
            std::process::exit(2);
        }
    }
}

fn run(options: &Options) {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    println!(
        "rowbus beside its peers: {cores} cores, SQLite {}, {} rounds, {} bytes a message\n",
        rowbus::rusqlite::version(),
        options.rounds,
        payload::SIZE,
    );
    let works = works::all();
    if let Some(unknown) = options.unknown(&works) {
        eprintln!("no work is called {unknown}");
        std::process::exit(2);
    }
    let (mut rows, mut notes) = (Vec::new(), Vec::new());
    for work in works.into_iter().filter(|work| work.is_wanted(options)) {
        eprintln!("{}, synchronous={} …", work.name, work.synchronous);
        rows.extend(compare::compare(&work, options, &mut notes));
    }
    report::table::print(&rows);
    for note in works::ABSENT.iter().map(ToString::to_string).chain(notes) {
        println!("{note}");
    }
    match options.files() {
        Some((json, svg)) => {
            report::json::write(&rows, &json);
            report::chart::write(&rows, &svg);
            println!("written: {} and {}", json.display(), svg.display());
        }
        None => println!("nothing written: --works measures a part, and takes --out FILE to write it"),
    }
}
