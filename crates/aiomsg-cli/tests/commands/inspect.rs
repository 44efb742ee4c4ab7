//! Captured streams, and what is said of them. The conversations are those of `tests/vectors`.

use std::fs;
use std::path::Path;

use aiomsg_interop::Stage;

use crate::support::{errors, exit_code, run, start_reading};

fn inspect(stage: &mut Stage, text: &str, arguments: &[&str]) -> (Vec<String>, i32, String) {
    let inspect = start_reading(stage, &[&["inspect", "--hex"], arguments].concat());
    stage.write(inspect, text);
    stage.close_input(inspect);
    let code = exit_code(stage, inspect);
    (stage.output(inspect), code, errors(stage, inspect))
}

/// Both directions of a captured conversation.
fn conversation(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors").join(name);
    let text = fs::read_to_string(path).expect("it is there");
    text.lines().filter(|line| line.starts_with(['<', '>'])).map(|line| format!("{line}\n")).collect()
}

#[test]
fn a_conversation_is_shown_frame_by_frame_in_both_directions() {
    let stage = &mut Stage::new();
    let (lines, code, errors) = inspect(stage, &conversation("v1-alo-bind.txt"), &[]);
    assert_eq!(code, 0, "{errors}");
    assert_eq!(lines[0], ">        0     22  greeting v1 f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff");
    assert_eq!(lines[1], "<        0     22  greeting v1 000102030405060708090a0b0c0d0e0f");
    assert_eq!(
        lines[2],
        ">       22     32  request 202122232425262728292a2b2c2d2e2f 11 bytes \"req from us\""
    );
    assert_eq!(lines[3], "<       22     21  acknowledgement 202122232425262728292a2b2c2d2e2f");
    assert!(lines.iter().any(|line| line.ends_with("heartbeat")));
}

#[test]
fn the_first_frame_tells_the_dialect() {
    let stage = &mut Stage::new();
    for (name, greeting) in
        [("classic-alo-bind.txt", "classic"), ("classic-text-alo-bind.txt", "classic, identity as text")]
    {
        let (lines, code, errors) = inspect(stage, &conversation(name), &["--json"]);
        assert_eq!(code, 0, "{errors}");
        let frames: Vec<serde_json::Value> =
            lines.iter().map(|line| serde_json::from_str(line).expect("it is JSON")).collect();
        assert_eq!(frames[0]["protocol"], greeting);
        for kind in ["request", "acknowledgement"] {
            assert!(frames.iter().any(|frame| frame["kind"] == kind), "{name}: no {kind}");
        }
    }
}

#[test]
fn bytes_are_read_from_a_file_and_from_where_the_capture_began() {
    let stage = &mut Stage::new();
    let file = tempfile::NamedTempFile::new().expect("a file");
    fs::write(file.path(), b"\0\0\0\x06\x03hello\0\0\0\x01\x02").expect("there is room");
    let path = file.path().to_str().expect("it is text");
    let (inspect, code) = run(stage, &["inspect", path, "--behind-greeting", "--dialect", "v1"]);
    assert_eq!(code, 0);
    let lines = stage.output(inspect);
    assert_eq!(lines, ["       0     10  message 5 bytes \"hello\"", "      10      5  heartbeat"]);
    let (_, code) = run(stage, &["inspect", path, "--behind-greeting"]);
    assert_eq!(code, 2, "nothing tells the dialect then");
    let (_, code) = run(stage, &["inspect", "/nowhere/at/all"]);
    assert_eq!(code, 1);
}

#[test]
fn what_makes_no_sense_is_told_and_what_came_before_is_shown() {
    let stage = &mut Stage::new();
    let hello = "00000012 0101 000102030405060708090a0b0c0d0e0f # a greeting\n";
    for (text, shown, error) in [
        ("00000012 0101 0001", 0, "within the frame at 0: 8 bytes of 22"),
        ("0000", 0, "whose length is cut off"),
        ("00000000", 0, "the first frame is empty"),
        ("00000001 01", 0, "truncated"),
        ("ffffffff", 0, "at most"),
        // A capture of a proxy, and hex digits without --hex.
        ("7b2274696d65223a", 0, "--capture"),
        ("3030303030303132", 0, "--hex"),
        ("0g", 0, "line 1"),
        ("000", 0, "line 1"),
        (&format!("{hello}00000006 03"), 1, "within the frame at 22: 5 bytes of 10"),
    ] {
        let (lines, code, errors) = inspect(stage, text, &[]);
        assert_eq!((lines.len(), code), (shown, 1), "{text}: {errors}");
        assert!(errors.contains(error), "{text}: {errors}");
    }
}
