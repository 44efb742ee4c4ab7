//! `aiomsg inspect`: what a captured stream says, frame by frame.

use std::fmt;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::PathBuf;

use aiomsg_proto::dialect::{Greeting, Incoming};
use aiomsg_proto::{IdentityForm, Protocol, frame};
use bytes::BytesMut;
use clap::Args;
use serde::Serialize;

use crate::console::Console;
use crate::failure::Failure;
use crate::input;
use crate::socket::DialectArg;
use crate::stop::Stop;

/// Longer frames than any peer may send: 1 GiB, and what comes before a payload.
const FRAME_LIMIT: u32 = (1 << 30) + 64;

/// Of a payload, so many bytes are shown.
const SHOWN: usize = 48;

const EXAMPLES: &str = "\
Examples:
  aiomsg inspect stream.bin
  aiomsg inspect --hex conversation.txt
  echo '0000001201 01000102030405060708090a0b0c0d0e0f 00000006 0368656c6c6f' \\
    | aiomsg inspect --hex
A stream is what one end of a connection has sent, from its first byte; without --behind-greeting. As hex text, it may have \
spaces and line breaks, and comments behind #. Lines that begin with < and > are the two directions of a conversation. \
The exit code is 1 when the stream makes no sense, or ends within a frame.";

/// Show what a captured stream of bytes says, frame by frame, in either dialect.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct InspectArgs {
    /// The file; standard input without it, or as -.
    path: Option<PathBuf>,
    /// The stream is written as hex digits.
    #[arg(long)]
    hex: bool,
    /// What is spoken. The first frame tells, unless it is missing.
    #[arg(long, value_name = "DIALECT", default_value = "auto")]
    dialect: DialectArg,
    /// The stream begins behind the first frame, by which a peer introduces itself; needs --dialect.
    #[arg(long)]
    behind_greeting: bool,
}

/// One frame.
#[derive(Serialize)]
struct Frame {
    #[serde(skip_serializing_if = "Option::is_none")]
    direction: Option<char>,
    /// Where it begins, and its length with the prefix.
    offset: u64,
    length: usize,
    #[serde(flatten)]
    meaning: Meaning,
}

/// What it means.
#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Meaning {
    Greeting { protocol: &'static str, identity: String },
    Message { payload: Payload },
    Request { id: String, payload: Payload },
    Acknowledgement { id: String },
    Heartbeat,
    Skipped { reason: String },
}

/// The beginning of a payload.
#[derive(Serialize)]
struct Payload {
    bytes: usize,
    text: String,
}

impl Payload {
    fn of(payload: &[u8]) -> Self {
        let shown = &payload[..payload.len().min(SHOWN)];
        let more = if shown.len() < payload.len() { "..." } else { "" };
        Self { bytes: payload.len(), text: format!("{}{more}", shown.escape_ascii()) }
    }
}

impl fmt::Display for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes \"{}\"", self.bytes, self.text)
    }
}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { direction, offset, length, meaning } = self;
        if let Some(direction) = direction {
            write!(f, "{direction} ")?;
        }
        write!(f, "{offset:>8} {length:>6}  ")?;
        match meaning {
            Meaning::Greeting { protocol, identity } => write!(f, "greeting {protocol} {identity}"),
            Meaning::Message { payload } => write!(f, "message {payload}"),
            Meaning::Request { id, payload } => write!(f, "request {id} {payload}"),
            Meaning::Acknowledgement { id } => write!(f, "acknowledgement {id}"),
            Meaning::Heartbeat => write!(f, "heartbeat"),
            Meaning::Skipped { reason } => write!(f, "skipped: {reason}"),
        }
    }
}

pub(crate) async fn run(args: InspectArgs, console: Console, stop: Stop) -> Result<(), Failure> {
    // Reading and writing may block, and signals are to be heard all the same.
    let inspecting = tokio::task::spawn_blocking(move || inspect(args, console));
    tokio::select! {
        biased;
        signal = stop.requested() => Err(Failure::Interrupted(signal)),
        done = inspecting => done.unwrap_or_else(|_| Err(Failure::failed("inspecting broke off"))),
    }
}

fn inspect(args: InspectArgs, console: Console) -> Result<(), Failure> {
    let InspectArgs { path, hex, dialect, behind_greeting } = args;
    let protocol = match (behind_greeting, dialect) {
        (false, _) => None,
        (true, DialectArg::V1) => Some(Protocol::V1),
        (true, DialectArg::Classic) => Some(Protocol::Classic(IdentityForm::Raw)),
        (true, DialectArg::Auto) => {
            return Err(Failure::Usage(
                "--behind-greeting needs --dialect v1 or --dialect classic".to_owned(),
            ));
        }
    };
    let reader: Box<dyn Read> = match path.filter(|path| path.as_os_str() != "-") {
        None => Box::new(io::stdin()),
        Some(path) => Box::new(input::open(&path)?),
    };
    let mut out = BufWriter::new(io::stdout());
    let mut streams = Streams { protocol, streams: Vec::new(), out: &mut out, console };
    let result = if hex { streams.read_hex(reader) } else { streams.read_bytes(reader) };
    let result = result.and_then(|()| streams.end());
    out.flush()?;
    result
}

/// The streams of a conversation, one for each direction.
struct Streams<'a, W> {
    protocol: Option<Protocol>,
    streams: Vec<Stream>,
    out: &'a mut W,
    console: Console,
}

/// One of them.
struct Stream {
    direction: Option<char>,
    /// Once it is known.
    protocol: Option<Protocol>,
    offset: u64,
    buffer: BytesMut,
}

impl<W: Write> Streams<'_, W> {
    fn read_bytes(&mut self, mut reader: impl Read) -> Result<(), Failure> {
        let mut piece = vec![0; 64 << 10];
        loop {
            match reader.read(&mut piece)? {
                0 => return Ok(()),
                read => self.take(None, &piece[..read])?,
            }
        }
    }

    fn read_hex(&mut self, reader: impl Read) -> Result<(), Failure> {
        for (number, line) in (1_u64..).zip(BufReader::new(reader).lines()) {
            let line = line?;
            let wrong = |error: hex::FromHexError| Failure::failed(format!("line {number}: {error}"));
            let text = line.split('#').next().unwrap_or_default().trim();
            let direction = text.chars().next().filter(|mark| matches!(mark, '<' | '>'));
            let digits: String = text.trim_start_matches(['<', '>']).split_whitespace().collect();
            self.take(direction, &hex::decode(digits).map_err(wrong)?)?;
        }
        Ok(())
    }

    fn take(&mut self, direction: Option<char>, bytes: &[u8]) -> Result<(), Failure> {
        let Self { protocol, streams, out, console } = self;
        let index = streams.iter().position(|stream| stream.direction == direction).unwrap_or_else(|| {
            streams.push(Stream { direction, protocol: *protocol, offset: 0, buffer: BytesMut::new() });
            streams.len() - 1
        });
        streams[index].buffer.extend_from_slice(bytes);
        while let Some(frame) = streams[index].next()? {
            let mut line = console.line(&frame).into_bytes();
            line.push(b'\n');
            out.write_all(&line)?;
        }
        Ok(())
    }

    fn end(&self) -> Result<(), Failure> {
        match self.streams.iter().find(|stream| !stream.buffer.is_empty()) {
            None => Ok(()),
            Some(Stream { offset, buffer, .. }) => {
                let there = buffer.len();
                let whole = frame::announced(buffer).map_or_else(
                    || "one whose length is cut off".to_owned(),
                    |length| format!("{}", u64::from(length) + frame::PREFIX as u64),
                );
                let hint = if *offset == 0 { hint(buffer) } else { "" };
                Err(Failure::failed(format!(
                    "the stream ends within the frame at {offset}: {there} bytes of {whole}{hint}"
                )))
            }
        }
    }
}

impl Stream {
    fn next(&mut self) -> Result<Option<Frame>, Failure> {
        let Self { direction, protocol, offset, buffer } = self;
        let hint = if *offset == 0 { hint(buffer) } else { "" };
        let wrong = |error: &dyn fmt::Display| {
            Failure::failed(format!("what is at {offset} is not a frame: {error}{hint}"))
        };
        let Some(frame) = frame::split(buffer, FRAME_LIMIT).map_err(|error| wrong(&error))? else {
            return Ok(None);
        };
        let length = frame.len() + frame::PREFIX;
        let meaning = match *protocol {
            Some(protocol) => meaning(protocol.decode(frame)),
            None => {
                let greeting = Greeting::decode(&frame).map_err(|error| wrong(&error))?;
                *protocol = Some(greeting.protocol);
                meaning(Incoming::Greeting(greeting))
            }
        };
        let frame = Frame { direction: *direction, offset: *offset, length, meaning };
        *offset += length as u64;
        Ok(Some(frame))
    }
}

/// What a file may be that does not begin as a stream does.
fn hint(start: &[u8]) -> &'static str {
    match start {
        [b'{', ..] => {
            " (is it JSON, as aiomsg proxy --capture writes it? It can be read as it is, and sent by aiomsg send --format \
             json)"
        }
        [first, ..] if first.is_ascii_hexdigit() || matches!(first, b'<' | b'>' | b'#') => {
            " (is it text? Hex digits are read with --hex)"
        }
        _ => "",
    }
}

fn meaning(incoming: Incoming) -> Meaning {
    match incoming {
        Incoming::Greeting(Greeting { identity, protocol }) => {
            let protocol = match protocol {
                Protocol::V1 => "v1",
                Protocol::Classic(IdentityForm::Text) => "classic, identity as text",
                _ => "classic",
            };
            Meaning::Greeting { protocol, identity: identity.to_string() }
        }
        Incoming::Message(payload) => Meaning::Message { payload: Payload::of(&payload) },
        Incoming::Request(id, payload) => {
            Meaning::Request { id: hex::encode(id.as_bytes()), payload: Payload::of(&payload) }
        }
        Incoming::Acknowledgement(id) => Meaning::Acknowledgement { id: hex::encode(id.as_bytes()) },
        Incoming::Heartbeat => Meaning::Heartbeat,
        Incoming::Skipped(reason) => Meaning::Skipped { reason: format!("{reason:?}") },
        _ => Meaning::Skipped { reason: "not known here".to_owned() },
    }
}
