//! Starting the programs of a recipe, and following the numbers that they print.

use std::process::Command;

use aiomsg_tests::program::{Program, examples};

/// The value of `--runtime`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Runtime(pub(crate) &'static str);

/// Runs a test with programs on each adapter.
macro_rules! on_both {
    ($($test:ident),+ $(,)?) => {
        mod on_tokio {
            $(#[test]
            fn $test() {
                super::$test(crate::support::Runtime("tokio"));
            })+
        }
        mod on_smol {
            $(#[test]
            fn $test() {
                super::$test(crate::support::Runtime("smol"));
            })+
        }
    };
}
pub(crate) use on_both;

/// Where a program listens that is to take any free port.
pub(crate) const ANY: &str = "127.0.0.1:0";

impl Runtime {
    pub(crate) fn start(self, name: &str, args: &[&str]) -> Program {
        Program::start(name, &[&["--runtime", self.0], args].concat())
    }

    /// A program that finds `value` in its environment.
    pub(crate) fn start_with(self, (variable, value): (&str, &str), name: &str, args: &[&str]) -> Program {
        let mut command = Command::new(examples().join(name));
        Program::spawn(command.env(variable, value).args(["--runtime", self.0]).args(args))
    }

    /// The other adapter.
    pub(crate) fn other(self) -> Self {
        Self(if self.0 == "smol" { "tokio" } else { "smol" })
    }

    /// A program that binds, and where.
    pub(crate) fn serve(self, name: &str, args: &[&str]) -> (Program, String) {
        Program::serve(name, &[&["--runtime", self.0], args].concat())
    }
}

/// A program with two sides, at each of which it binds.
pub(crate) struct Middle {
    pub(crate) program: Program,
    /// Where it listens.
    pub(crate) addresses: [String; 2],
}

impl Middle {
    /// Starts it, with the address that each side is to have.
    pub(crate) fn start(runtime: Runtime, name: &str, sides: [(&str, &str); 2], args: &[&str]) -> Self {
        let flags = sides.map(|(side, _)| format!("--{side}"));
        let [(_, front), (_, back)] = sides;
        let mut program = runtime.start(name, &[&[&flags[0], front, &flags[1], back], args].concat());
        let addresses = sides.map(|(side, _)| program.last_word(&format!("{side}: listening on ")));
        Self { program, addresses }
    }

    /// Kills it, and returns where it listened.
    pub(crate) fn kill(self) -> [String; 2] {
        self.program.kill();
        self.addresses
    }
}

/// The number at the end of the next line with this in it.
pub(crate) fn number(program: &mut Program, part: &str) -> u64 {
    let word = program.last_word(part);
    word.parse().unwrap_or_else(|_| panic!("{word:?} is no number"))
}

/// Checks that the next `count` numbers follow each other in steps, and returns the last of them.
#[track_caller]
pub(crate) fn assert_steps(program: &mut Program, part: &str, step: u64, count: u64) -> u64 {
    let first = number(program, part);
    for turn in 1..count {
        assert_eq!(number(program, part), first + turn * step, "in steps of {step} from {first}");
    }
    first + (count - 1) * step
}

/// Waits until the numbers follow each other in steps, which they may not do at first.
#[track_caller]
pub(crate) fn wait_for_steps(program: &mut Program, part: &str, step: u64) {
    let mut before = number(program, part);
    for _ in 0..1_000 {
        let next = number(program, part);
        if next == before + step {
            assert_steps(program, part, step, 4);
            return;
        }
        before = next;
    }
    panic!("no steps of {step} until {before}");
}
