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
    for signal in ["INT", "TERM"] {
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
fn a_closed_pipe_ends_the_stream_quietly() {
    let folder = Folder::new();
    folder.run(&["pub", "a", "a line of some length", "--count", "20000", "--relaxed"]);
    let mut stream = folder.stream(&["a", "--from", "oldest"]);
    let mut pipe = stream.stdout();
    pipe.read_exact(&mut [0; 10]).unwrap();
    drop(pipe);
    let finished = stream.finish();
    assert_eq!((finished.code, &*finished.stderr), (Some(0), ""));
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
