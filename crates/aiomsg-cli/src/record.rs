//! A message as one line of JSON: what `recv --json` prints, what a capture consists of, and what `send --format json`
//! reads.

use std::borrow::Cow;
use std::io::Write;
use std::time::SystemTime;

use aiomsg_tokio::Identity;
use serde::{Deserialize, Serialize};

/// The part of `--help` that describes the format.
pub(crate) const FORMAT: &str = "\
A message as JSON is an object on a line of its own:
  {\"time\":\"2026-01-31T12:00:00.000000Z\",\"identity\":\"000102030405060708090a0b0c0d0e0f\",\"text\":\"hello\"}
  time      when it was received, in UTC
  identity  who sent it, 32 hex digits
  text      the message, if it is UTF-8, and otherwise
  hex       the message as hex digits
A capture may also have objects {\"missed\":N}: that many messages passed there and were not written, since the disk \
was too slow. To send, only text or hex is needed.";

/// One line.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Record<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    identity: Option<String>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    text: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hex: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    missed: Option<u64>,
}

impl<'a> Record<'a> {
    /// A message that was received now.
    pub(crate) fn of(identity: Identity, payload: &'a [u8]) -> Self {
        let text = core::str::from_utf8(payload).ok();
        Self {
            time: Some(humantime::format_rfc3339_micros(SystemTime::now()).to_string()),
            identity: Some(identity.to_string()),
            text: text.map(Cow::Borrowed),
            hex: text.is_none().then(|| hex::encode(payload)),
            missed: None,
        }
    }

    /// A gap in a capture.
    pub(crate) const fn missed(messages: u64) -> Self {
        Self { time: None, identity: None, text: None, hex: None, missed: Some(messages) }
    }

    /// Appends it as a line.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        // Text and numbers into memory: nothing here can fail.
        let _ = serde_json::to_writer(&mut *out, self);
        let _ = out.write_all(b"\n");
    }

    /// What is to be sent for a line: nothing for a gap.
    pub(crate) fn payload(line: &'a [u8]) -> Result<Option<Vec<u8>>, String> {
        let record: Self = serde_json::from_slice(line).map_err(|error| error.to_string())?;
        match (record.text, record.hex, record.missed) {
            (Some(text), None, None) => Ok(Some(text.into_owned().into_bytes())),
            (None, Some(digits), None) => hex::decode(digits).map(Some).map_err(|error| error.to_string()),
            (None, None, Some(_)) => Ok(None),
            _ => Err("expected either \"text\" or \"hex\"".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let identity = Identity::from_bytes([7; 16]);
        for payload in [&b"hello"[..], b"", b"two\nlines \"quoted\"", &[0xff, 0, 10]] {
            let mut line = Vec::new();
            Record::of(identity, payload).write(&mut line);
            assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1, "one line");
            assert_eq!(Record::payload(&line).expect("a record").as_deref(), Some(payload));
        }
        let mut gap = Vec::new();
        Record::missed(3).write(&mut gap);
        assert_eq!(gap, b"{\"missed\":3}\n");
        assert_eq!(Record::payload(&gap), Ok(None));
        for bad in ["{}", "[]", "{\"hex\":\"0\"}", "{\"text\":\"a\",\"hex\":\"00\"}", "hello"] {
            assert!(Record::payload(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
