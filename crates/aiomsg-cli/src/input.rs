//! Where the messages to send come from.

use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use clap::{Args, ValueEnum};
use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::failure::Failure;
use crate::record::Record;
use crate::socket::LARGEST;

/// From this size on, what was read is handed on, though more is there.
const WORTHWHILE: usize = 64 << 10;

/// What to send.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Messages")]
pub(crate) struct InputArgs {
    /// A message; may be repeated. Without any, each line of standard input is one, unless --format whole.
    #[arg(long, short, value_name = "TEXT", conflicts_with = "file")]
    message: Vec<String>,
    /// Each line of this file is a message, unless --format whole; - is standard input.
    #[arg(long, short, value_name = "PATH")]
    file: Option<PathBuf>,
    /// How a message, or a line, is read.
    #[arg(long, default_value = "text")]
    format: InputFormat,
    /// Number of messages to send: --message values repeat, lines stop there. Default: each once.
    #[arg(long, short = 'n', value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    /// Only to say where a message belongs that stands alone.
    #[arg(hide = true, value_name = "MESSAGE", value_parser = misplaced)]
    misplaced: Option<String>,
}

fn misplaced(text: &str) -> Result<String, String> {
    Err(format!("a message is given with its flag, --message {text:?}"))
}

/// How messages are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum InputFormat {
    /// As it is, without the line feed.
    Text,
    /// Hex digits.
    Hex,
    /// An object of JSON on each line, as recv --json prints it and proxy --capture writes it.
    Json,
    /// All of the file, or of standard input, is one message.
    Whole,
}

/// The messages to send, one after another.
#[derive(Debug)]
pub(crate) enum Input {
    /// From the command line: those that are left, of so many in all.
    List { messages: Arc<[Bytes]>, next: usize, left: u64 },
    /// As a thread reads them.
    Read {
        batches: Receiver<Batch>,
        batch: std::vec::IntoIter<Bytes>,
        left: u64,
        /// By a person, who may not know that it is their turn.
        typed: bool,
    },
}

/// Messages that were read together, and why there are no more if there are not.
type Batch = Result<Vec<Bytes>, Failure>;

impl InputArgs {
    /// Opens what is to be read. Must be called within the runtime.
    pub(crate) fn open(self) -> Result<Input, Failure> {
        let Self { message, file, format, count, misplaced: _ } = self;
        if !message.is_empty() {
            let messages = message.iter().map(|text| format.decode(text.as_bytes().to_vec()));
            let messages: Vec<Bytes> =
                messages.filter_map(Result::transpose).collect::<Result<_, _>>().map_err(|error| {
                    Failure::Usage(format!("--message cannot be read as --format says: {error}"))
                })?;
            let left = count.unwrap_or(messages.len() as u64);
            return Ok(Input::List { messages: messages.into(), next: 0, left });
        }
        let left = count.unwrap_or(u64::MAX);
        let (sender, batches) = channel(8);
        let typed = io::stdin().is_terminal() && file.as_ref().is_none_or(|path| path.as_os_str() == "-");
        let (name, reader) = match file.filter(|path| path.as_os_str() != "-") {
            None => ("standard input".to_owned(), Box::new(io::stdin()) as Box<dyn Read + Send>),
            Some(path) => {
                let name = path.display().to_string();
                let file = open(&path)?;
                (name, Box::new(file) as Box<dyn Read + Send>)
            }
        };
        // Not one of the runtime's threads, whose end would be waited for: a terminal may never say anything.
        std::thread::Builder::new().name("input".to_owned()).spawn(move || {
            if let Err(error) = read(format, reader, &sender) {
                // Nobody listens any more if enough was read.
                let _ = sender.blocking_send(Err(Failure::failed(format!("{name}: {error}"))));
            }
        })?;
        Ok(Input::Read { batches, batch: Vec::new().into_iter(), left, typed })
    }
}

impl Input {
    /// How many there will be, if that is known.
    pub(crate) fn len(&self) -> Option<u64> {
        match self {
            Self::List { left, .. } => Some(*left),
            Self::Read { left, .. } => Some(*left).filter(|left| *left < u64::MAX),
        }
    }

    /// Whether somebody types them.
    pub(crate) const fn is_typed(&self) -> bool {
        matches!(self, Self::Read { typed: true, .. })
    }

    /// The next message.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, nothing was taken.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        match self {
            Self::List { messages, next, left } => {
                if *left == 0 || messages.is_empty() {
                    return Ok(None);
                }
                let message = messages[*next].clone();
                *next = (*next + 1) % messages.len();
                *left -= 1;
                Ok(Some(message))
            }
            Self::Read { batches, batch, left, .. } => {
                if *left == 0 {
                    return Ok(None);
                }
                loop {
                    if let Some(message) = batch.next() {
                        *left -= 1;
                        return Ok(Some(message));
                    }
                    match batches.recv().await {
                        Some(read) => *batch = read?.into_iter(),
                        None => return Ok(None),
                    }
                }
            }
        }
    }
}

impl InputFormat {
    /// What is to be sent; nothing for a line that only says what is missing.
    fn decode(self, text: Vec<u8>) -> Result<Option<Bytes>, String> {
        match self {
            Self::Text | Self::Whole => Ok(Some(text.into())),
            Self::Hex => hex::decode(text.trim_ascii())
                .map(|bytes| Some(bytes.into()))
                .map_err(|error| error.to_string()),
            Self::Json => Record::payload(&text).map(|payload| payload.map(Bytes::from)),
        }
    }
}

/// A file to be read from its beginning.
pub(crate) fn open(path: &Path) -> Result<File, Failure> {
    let file = File::open(path).and_then(|file| match file.metadata()?.is_dir() {
        // Some systems say so only when it is read, which may be much later.
        true => Err(io::ErrorKind::IsADirectory.into()),
        false => Ok(file),
    });
    file.map_err(|error| Failure::failed(format!("cannot read {}: {error}", path.display())))
}

fn read(format: InputFormat, reader: impl Read, sender: &Sender<Batch>) -> Result<(), String> {
    let mut reader = BufReader::with_capacity(WORTHWHILE, reader);
    let mut batch = Vec::new();
    let mut size = 0;
    for number in 1_u64.. {
        let mut line = Vec::new();
        let part = reader.by_ref().take(LARGEST as u64 + 1);
        let length = match format {
            InputFormat::Whole => { part }.read_to_end(&mut line),
            _ => { part }.read_until(b'\n', &mut line),
        };
        if length.map_err(|error| error.to_string())? == 0 {
            break;
        }
        if line.last() == Some(&b'\n') && format != InputFormat::Whole {
            line.pop();
        }
        if line.len() > LARGEST {
            return Err(format!("line {number} is longer than a message may be, {LARGEST} bytes"));
        }
        size += line.len();
        batch.extend(format.decode(line).map_err(|error| format!("line {number}: {error}"))?);
        if size >= WORTHWHILE || reader.buffer().is_empty() {
            size = 0;
            if sender.blocking_send(Ok(std::mem::take(&mut batch))).is_err() {
                return Ok(());
            }
        }
    }
    // Nobody listens any more if enough was read.
    let _ = sender.blocking_send(Ok(batch));
    Ok(())
}
