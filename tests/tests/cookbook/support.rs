//! Starting the programs of a recipe.

use aiomsg_tests::program::Program;

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

    /// A program that binds, and where.
    pub(crate) fn serve(self, name: &str, args: &[&str]) -> (Program, String) {
        Program::serve(name, &[&["--runtime", self.0], args].concat())
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
