//! How `rowbus sub` goes on, and how it ends.

use std::io::Read;

use crate::support::{Folder, Running};

#[test]
fn a_message_is_printed_when_it_comes_and_not_when_a_buffer_is_full() {
    let folder = Folder::new();
    let mut streams = [folder.stream(&["a.>", "--json"]), folder.stream(&["a.>", "--raw"])];
    for body in ["one", "two"] {
        folder.publish("a.b", body.as_bytes());
        for stream in &mut streams {
            assert!(stream.line().unwrap().contains(body));
        }
    }
}

#[test]
fn a_count_ends_the_stream() {
    let folder = Folder::new();
    let stream = folder.stream(&["a", "--raw", "--count", "2"]);
    folder.run_with(&["pub", "a", "--send-on", "newline"], b"1\n2\n3\n");
    let finished = stream.finish();
    assert_eq!((finished.code, finished.text()), (Some(0), "1\n2\n"));
}

#[test]
fn waiting_in_vain_is_exit_code_3() {
    let folder = Folder::new();
    let nothing = folder.run(&["sub", "a.b", "--wait", "50ms", "--quiet"]);
    assert_eq!(nothing.refusal(3), "no message on a.b within 50ms");
    folder.publish("a.b", b"1");
    let some = folder.run(&["sub", "a.b", "--from", "oldest", "--raw", "--wait", "500ms", "--quiet"]);
    assert_eq!((some.code, some.text(), &*some.stderr), (Some(0), "1\n", ""));
    let too_few =
        folder.run(&["sub", "a.b", "--from", "oldest", "--raw", "--wait", "500ms", "--count", "2", "-q"]);
    assert_eq!((too_few.code, too_few.text()), (Some(3), "1\n"));
    assert_eq!(too_few.stderr, "rowbus: 1 of 2 messages on a.b, and no more within 500ms\n");
}

#[test]
#[cfg(unix)]
fn a_signal_ends_the_stream_in_good_order() {
    for signal in ["INT", "TERM", "HUP"] {
        let folder = Folder::new();
        let mut stream = folder.stream(&["a", "--raw"]);
        folder.publish("a", b"taken");
        assert_eq!(stream.line().as_deref(), Some("taken"));
        stream.signal(signal);
        let finished = stream.finish();
        assert_eq!((finished.code, finished.text(), &*finished.stderr), (Some(0), "", ""), "{signal}");
    }
}

#[test]
#[cfg(unix)]
fn a_signal_ends_a_stream_that_never_falls_silent() {
    let folder = Folder::new();
    let mut publisher =
        Running::start(folder.command(&["pub", "a", "x", "--count", "1000000000", "--relaxed"]));
    // The first message may come after the file was made.
    let mut stream = folder.stream(&["a", "--raw", "--from", "oldest"]);
    let mut pipe = stream.stdout();
    pipe.read_exact(&mut [0; 1]).unwrap();
    let drain = std::thread::spawn(move || std::io::copy(&mut pipe, &mut std::io::sink()).unwrap());
    stream.signal("TERM");
    assert_eq!(stream.wait(), Some(0));
    assert!(drain.join().unwrap() > 0);
    publisher.kill();
}

#[test]
#[cfg(unix)]
fn a_stream_whose_reader_takes_nothing_ends_at_the_second_signal() {
    let folder = Folder::new();
    folder.publish("a", &vec![b'x'; 1 << 20]);
    let mut stream = folder.stream(&["a", "--raw", "--from", "oldest"]);
    let mut pipe = stream.stdout();
    // It is in the midst of a message, and no pipe holds the rest.
    pipe.read_exact(&mut [0; 1]).unwrap();
    let deadline = std::time::Instant::now() + crate::support::PATIENCE;
    while !stream.has_ended() {
        assert!(std::time::Instant::now() < deadline, "it goes on in spite of signals");
        stream.signal("TERM");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert_eq!(stream.wait(), Some(1));
    assert!(stream.stderr_line().contains("could not be written"));
    drop(pipe);
}

#[test]
fn a_closed_pipe_ends_the_stream_and_what_it_did_not_take_is_told() {
    let folder = Folder::new();
    folder.run(&["pub", "a", "a line of some length", "--count", "20000", "--relaxed"]);
    let mut stream = folder.stream(&["a", "--from", "oldest"]);
    let mut pipe = stream.stdout();
    pipe.read_exact(&mut [0; 10]).unwrap();
    drop(pipe);
    let finished = stream.finish();
    assert_eq!(finished.code, Some(0));
    let told =
        "rowbus: standard output was closed before all was taken of what was streamed, up to sequence ";
    assert!(finished.stderr.starts_with(told), "{finished:?}");
}

#[test]
fn bodies_of_several_lines_are_told_apart_by_a_nul() {
    let folder = Folder::new();
    for body in ["one\ntwo", "", "three"] {
        folder.publish("a", body.as_bytes());
    }
    let streamed = folder.run(&["sub", "a", "--from", "oldest", "--count", "3", "-0", "-q"]);
    assert_eq!((streamed.code, streamed.text()), (Some(0), "one\ntwo\0\0three\0"), "{streamed:?}");
    let member = folder.run(&["sub", "--durable", "m", "--ack", "--count", "3", "--null", "-q"]);
    assert_eq!(member.text(), streamed.text());
    assert_eq!(folder.run(&["export", "-0", "-q"]).text(), streamed.text());
    assert_eq!(folder.run(&["export", "--raw", "-q"]).text(), "one\ntwo\n\nthree\n");
}

#[test]
#[cfg(unix)]
fn a_reader_finds_whole_lines_whenever_it_looks() {
    let folder = Folder::new();
    let body = "x".repeat(1000);
    folder.run(&["pub", "a", &body, "--count", "200", "--relaxed"]);
    let mut stream = folder.stream(&["a", "--from", "oldest", "--raw"]);
    for _ in 0..200 {
        assert_eq!(stream.line().as_deref(), Some(&*body));
    }
    // It was not the end of the stream that has flushed them.
    assert!(!stream.has_ended());
}

#[test]
#[cfg(target_os = "linux")]
fn what_is_left_in_the_pipe_of_a_reader_that_has_gone_is_told() {
    for durable in [false, true] {
        let folder = Folder::new();
        let member = ["--durable", "m", "--ack"];
        let mut stream = folder.stream(&[&["a", "--raw"][..], if durable { &member } else { &[] }].concat());
        let mut pipe = stream.stdout();
        folder.publish("a", b"taken, and this is not");
        pipe.read_exact(&mut [0; 5]).unwrap();
        drop(pipe);
        let finished = stream.finish();
        // What was acknowledged does not come again.
        assert_eq!(finished.code, Some(if durable { 1 } else { 0 }));
        let of = if durable { "what was acknowledged" } else { "what was streamed, up to sequence 1" };
        let told = format!("rowbus: standard output was closed before all was taken of {of}\n");
        assert_eq!(finished.stderr, told);
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_reader_that_leaves_before_the_count_has_not_got_what_was_asked_for() {
    for member in [&[][..], &["--durable", "m", "--ack"]] {
        let folder = Folder::new();
        let mut stream = folder.stream(&[&["a", "--raw", "--count", "2"][..], member].concat());
        folder.publish("a", b"one");
        let mut pipe = stream.stdout();
        pipe.read_exact(&mut [0; 4]).unwrap();
        drop(pipe);
        let finished = stream.finish();
        assert_eq!(finished.refusal(1), "standard output was closed before 2 messages had come");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn what_cannot_be_written_is_given_back_and_told_in_one_line() {
    let folder = Folder::new();
    folder.run_with(&["pub", "a", "--send-on", "newline"], b"1\n2\n3\n");
    let mut command = folder.command(&["sub", "a", "--durable", "m", "--ack", "--raw", "-q"]);
    command.stdout(std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap());
    let told = command.output().unwrap();
    let stderr = String::from_utf8(told.stderr).unwrap();
    assert_eq!(told.status.code(), Some(1));
    let said = "rowbus: writing to standard output: No space left on device (os error 28) (";
    assert!(stderr.starts_with(said) && stderr.ends_with(" given back)\n"), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    let info = folder.run(&["consumer", "info", "m", "--json"]);
    let info: serde_json::Value = serde_json::from_str(info.text()).unwrap();
    assert_eq!((&info["num_pending"], &info["num_backing_off"]), (&3.into(), &0.into()), "{info}");
    let all = folder.run(&["sub", "--durable", "m", "--ack", "--count", "3", "--wait", "20s", "--raw", "-q"]);
    assert_eq!(all.text(), "1\n2\n3\n");
}

#[test]
#[cfg(unix)]
fn a_standard_stream_that_was_closed_is_refused_and_one_that_is_discarded_is_not() {
    let folder = Folder::new();
    folder.publish("a", b"1");
    let shell = |script: &str| {
        let mut command = std::process::Command::new("sh");
        command.args(["-c", script]).current_dir(folder.path()).env("R", env!("CARGO_BIN_EXE_rowbus"));
        command.env("ROWBUS_DB", "bus.db").env_remove("ROWBUS_URL").stdin(std::process::Stdio::null());
        let ended = command.output().unwrap();
        (ended.status.code(), String::from_utf8(ended.stderr).unwrap())
    };
    let unread = "rowbus: standard output is closed, or /dev/null opened for reading as well: nobody would get what is written\n";
    assert_eq!(shell("\"$R\" sub a --durable m --ack --count 1 >&-"), (Some(2), unread.to_owned()));
    let unwritten = "rowbus: standard input is closed, or /dev/null opened for writing as well; say '' for an empty body\n";
    for line in ["pub a", "pub a --send-on newline", "enqueue a", "request a", "import -"] {
        assert_eq!(shell(&format!("\"$R\" {line} <&-")), (Some(2), unwritten.to_owned()), "{line}");
    }
    assert_eq!(shell("\"$R\" pub a -q </dev/null"), (Some(0), String::new()));
    assert_eq!(shell("\"$R\" sub a --durable m --ack --count 2 -q >/dev/null"), (Some(0), String::new()));
}

#[test]
fn an_export_that_nobody_reads_to_its_end_has_failed() {
    let folder = Folder::new();
    folder.run(&["pub", "a", "a line of some length", "--count", "20000", "--relaxed"]);
    let mut export = Running::start(folder.command(&["export"]));
    let mut pipe = export.stdout();
    pipe.read_exact(&mut [0; 10]).unwrap();
    drop(pipe);
    let finished = export.finish();
    assert_eq!(finished.refusal(1), "standard output was closed before everything was exported");
}

#[test]
#[cfg(target_os = "linux")]
fn a_closed_pipe_ends_even_a_stream_that_waits() {
    let folder = Folder::new();
    let mut stream = folder.stream(&["a", "--json"]);
    drop(stream.stdout());
    let finished = stream.finish();
    assert_eq!((finished.code, &*finished.stderr), (Some(0), ""));
}

#[test]
fn a_pipe_that_is_closed_early_does_not_disturb_other_output() {
    let folder = Folder::new();
    let mut help = Running::start(folder.bare(&["sub", "--help"]));
    drop(help.stdout());
    let finished = help.finish();
    assert_eq!((finished.code, &*finished.stderr), (Some(0), ""));
}

#[test]
fn events_that_are_gone_are_told_and_the_stream_goes_on() {
    let folder = Folder::new();
    folder.run_with(&["pub", "a", "--send-on", "newline"], b"1\n2\n3\n");
    let host = rowbus::rusqlite::Connection::open(folder.db()).unwrap();
    host.execute_batch("DELETE FROM bus_events WHERE id <= 2; UPDATE bus_retention SET pruned_through = 2")
        .unwrap();
    let stream = folder.stream(&["a", "--from", "1", "--raw", "--count", "1"]);
    let finished = stream.finish();
    assert_eq!((finished.code, finished.text()), (Some(0), "3\n"));
    assert_eq!(finished.stderr, "rowbus: events 1 to 2 may have been removed before this stream read them\n");
}

#[test]
fn a_file_that_is_replaced_ends_its_streams() {
    let folder = Folder::new();
    let stream = folder.stream(&["a"]);
    for suffix in ["", "-wal", "-shm"] {
        let name = folder.path().join(format!("bus.db{suffix}"));
        if name.exists() && std::fs::remove_file(name).is_err() {
            // Where an open file cannot be removed, it cannot be replaced either.
            return;
        }
    }
    let finished = stream.finish();
    assert!(finished.refusal(1).contains("bus.db"), "{finished:?}");
}
