//! Wrong usage, and what is said about it; help, and completions.

use std::io::Read;
use std::net::TcpListener;
use std::process::Stdio;

use aiomsg_interop::Stage;

use crate::support::{bind, errors, exit_code, run, start, start_with};

#[test]
fn wrong_flags_and_addresses_are_usage_errors_that_say_what_would_be_right() {
    let stage = &mut Stage::new();
    for (arguments, hint) in [
        (&["recv"][..], "--bind"),
        (&["recv", "--bind", "25000"], "127.0.0.1:25000"),
        (&["recv", "--bind", "localhost"], "localhost:25000"),
        (&["proxy", "--front", "a:1,a:2", "--back", "a:2"], "--front and --back are both a:2"),
        (&["send", "--connect", "a:1", "--format", "hex", "--message", "zz"], "--message cannot be read"),
        (&["recv", "--bind", "*:25000"], "0.0.0.0:25000"),
        (&["proxy", "--front", "a:1", "--back-connect", "tcp://a:1"], "without a scheme"),
        (&["recv", "--connect", "localhost:0"], "port 0, to which nobody can connect"),
        (&["recv", "--bind", "a:1", "--timeout", "5"], "time unit needed"),
        (&["recv", "--bind", "a:1", "--count", "0"], "--count"),
        (&["recv", "--bind", "a:1", "--identity", "me"], "32 hex digits"),
        (&["recv", "--bind", "a:1", "--format", "xml"], "json"),
        (&["send", "--connect", "a:1", "--rate", "0"], "above 0"),
        (&["send", "--connect", "a:1", "--message", "a", "--file", "b"], "cannot be used with"),
        (&["pub", "--connect", "a:1", "--delivery", "at-least-once"], "--delivery"),
        (&["proxy", "--front", "a:1"], "--back"),
        (&["proxy", "--back", "a:1"], "--front"),
        (&["ping", "--connect", "a:1", "--size", "1"], "32"),
        (&["bench", "--connect", "a:1", "--outstanding", "2"], "--round-trip"),
        (&["proxy", "--back", "a:1", "--front-identity", "000102030405060708090a0b0c0d0e0f"], "--front"),
        (&["recv", "--bind", "127.0.0.1:0", "--heartbeat-timeout", "1ms"], "at least 3ms"),
        (&["publish"], "subcommand"),
        (&["send", "hello", "--connect", "a:1"], "--message \"hello\""),
        (&["recv", "--bind", "a:1", "-q", "-v"], "cannot be used with"),
    ] {
        let (actor, code) = run(stage, arguments);
        let said = errors(stage, actor);
        assert_eq!(code, 2, "{arguments:?}: {said}");
        assert!(said.contains(hint), "{arguments:?}: {said}");
    }
}

#[test]
fn what_cannot_be_bound_is_a_failure_that_says_what_to_do() {
    let stage = &mut Stage::new();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let taken = taken.local_addr().expect("it is bound").to_string();
    let listener = TcpListener::bind(&taken);
    for (address, hint) in [
        (taken.as_str(), "choose another port"),
        ("203.0.113.1:25000", "try 0.0.0.0"),
        ("no-such-host.invalid:25000", "is it spelled right?"),
    ] {
        let (actor, code) = run(stage, &["recv", "--bind", address]);
        let said = errors(stage, actor);
        assert_eq!(code, 1, "{said}");
        assert!(said.contains(hint), "{said}");
        let name = if hint == "choose another port" { &taken } else { address };
        assert_eq!(said.matches(name).count(), 1, "told once: {said}");
    }
    drop(listener);
}

#[test]
fn what_cannot_be_connected_is_told_once_and_tried_again() {
    let stage = &mut Stage::new();
    let port = aiomsg_interop::free_port();
    let address = format!("127.0.0.1:{port}");
    let sender = start(stage, &["send", "--connect", &address, "--message", "hello"]);
    let said = stage.wait_note(sender, "cannot connect to ");
    assert!(said.contains("refused") && said.contains("trying again"), "{said}");
    let receiver = start(stage, &["recv", "--bind", &address, "--count", "1"]);
    assert_eq!(stage.finish(receiver), ["hello"]);
    assert_eq!(exit_code(stage, sender), 0);
    assert_eq!(stage.count_notes(sender, "cannot connect"), 1);
    assert_eq!(stage.count_notes(sender, "connected "), 1, "who was told of the failure is told of its end");
}

#[test]
fn who_is_hung_up_on_time_and_again_is_told_why_that_may_be() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    // Until the program is ended. What was not read would have the system say that the connection failed.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let _ = stream.and_then(|mut stream| stream.read(&mut [0; 1_024]));
        }
    });
    let stage = &mut Stage::new();
    let receiver = start(stage, &["recv", "--connect", &address]);
    let said = stage.wait_note(receiver, "cannot connect to ");
    assert!(said.contains("3 times in a row") && said.contains("identity"), "{said}");
    stage.signal(receiver, "-TERM");
    let _ = exit_code(stage, receiver);
    assert_eq!(stage.count_notes(receiver, "cannot connect"), 1);
}

#[test]
fn a_socket_that_connects_to_itself_is_told_so() {
    let stage = &mut Stage::new();
    let (actor, address) = bind(stage, &["recv", "--identity", "000102030405060708090a0b0c0d0e0f"]);
    let twin = ["recv", "--identity", "000102030405060708090a0b0c0d0e0f", "--connect", &address];
    let twin = start(stage, &twin);
    let said = stage.wait_note(twin, "cannot connect to ");
    assert!(said.contains("our own identity") && said.contains("given up"), "{said}");
    assert!(!errors(stage, twin).contains("WARN"), "once is enough");
    let _ = stage.kill(actor);
}

#[test]
fn flags_may_come_from_the_environment_and_the_command_line_overrules_them() {
    let stage = &mut Stage::new();
    let receiver = start_with(stage, &["recv", "--format", "text"], |command| {
        command.envs([("AIOMSG_BIND", "127.0.0.1:0,localhost:0"), ("AIOMSG_FORMAT", "hex")]);
        command.envs([("AIOMSG_COUNT", "1"), ("AIOMSG_QUIET", "0")]).stdin(Stdio::null());
    });
    let address = stage.wait_note(receiver, "listening ");
    stage.wait_errors(receiver, "both addresses", 2, |line| line.starts_with("listening "));
    let sender = start_with(stage, &["send"], |command| {
        command.envs([("AIOMSG_CONNECT", &*address), ("AIOMSG_MESSAGE", "hello"), ("AIOMSG_QUIET", "1")]);
        command.stdin(Stdio::null());
    });
    assert_eq!(exit_code(stage, sender), 0);
    assert_eq!(errors(stage, sender), "", "it is quiet");
    assert_eq!(stage.finish(receiver), ["hello"]);
}

#[test]
fn a_wrong_flag_from_the_environment_is_told_as_such() {
    let stage = &mut Stage::new();
    let send = ["send", "--connect", "127.0.0.1:1", "--file", "/nowhere"];
    let sender = start_with(stage, &send, |command| {
        command.env("AIOMSG_MESSAGE", "hello").stdin(Stdio::null());
    });
    assert_eq!(exit_code(stage, sender), 2);
    assert!(errors(stage, sender).ends_with("from the environment, where there is AIOMSG_MESSAGE"));
    let (wrong, _) = run(stage, &["send"]);
    assert!(!errors(stage, wrong).contains("environment"), "there is nothing in it");
}

#[test]
fn a_folder_cannot_be_sent_and_that_is_told_before_anybody_is_there() {
    let stage = &mut Stage::new();
    let (sender, code) = run(stage, &["send", "--bind", "127.0.0.1:0", "--file", "/"]);
    assert_eq!(code, 1);
    assert!(errors(stage, sender).contains("cannot read /: "));
}

#[test]
fn help_has_examples_and_exit_codes() {
    let stage = &mut Stage::new();
    let (help, code) = run(stage, &["--help"]);
    let text = stage.output(help).join("\n");
    assert_eq!(code, 0);
    for word in
        ["proxy", "send", "pub", "recv", "echo", "ping", "bench", "inspect", "completions", "124", "143"]
    {
        assert!(text.contains(word), "{word}");
    }
    for command in ["proxy", "send", "pub", "sub", "recv", "echo", "ping", "bench", "inspect", "completions"]
    {
        let (help, code) = run(stage, &[command, "--help"]);
        let text = stage.output(help).join("\n");
        assert_eq!(code, 0);
        assert!(text.contains("Examples:") && text.contains("  aiomsg "), "{command}");
    }
}

#[test]
fn completions_know_the_commands() {
    let stage = &mut Stage::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let (completions, code) = run(stage, &["completions", shell]);
        assert_eq!(code, 0);
        assert!(stage.output(completions).iter().any(|line| line.contains("front-connect")), "{shell}");
    }
}

#[test]
fn the_log_of_the_library_is_there_when_asked_for() {
    let stage = &mut Stage::new();
    let (receiver, address) = bind(stage, &["recv", "--count", "1", "-v"]);
    assert_eq!(run(stage, &["send", "--connect", &address, "-m", "hello"]).1, 0);
    assert_eq!(stage.finish(receiver), ["hello"]);
    assert!(errors(stage, receiver).contains("Connected"));
}
