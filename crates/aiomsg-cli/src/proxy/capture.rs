//! What passes, written down without holding it up.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aiomsg_tokio::Message;

use crate::console::{Console, Remark};
use crate::failure::Failure;
use crate::record::Record;
use crate::sink::{Chunk, Sink};

/// A file that what passes is appended to.
#[derive(Debug)]
pub(super) struct Capture {
    path: PathBuf,
    sink: Sink,
    chunk: Chunk,
    /// Messages that are missing at the end of what is written.
    gap: u64,
    missed: Arc<AtomicUsize>,
    console: Console,
    told: bool,
}

impl Capture {
    pub(super) fn start(path: PathBuf, console: Console) -> Result<Self, Failure> {
        let sink = Sink::append(&path).map_err(|error| {
            Failure::failed(format!("cannot write the capture to {}: {error}", path.display()))
        })?;
        Ok(Self { path, sink, chunk: Chunk::default(), gap: 0, missed: Arc::default(), console, told: false })
    }

    /// Messages that are missing in all, for whoever watches.
    pub(super) fn missed(&self) -> Arc<AtomicUsize> {
        self.missed.clone()
    }

    pub(super) fn note(&mut self, message: &Message) {
        if self.chunk.is_worthwhile() && !self.flush() {
            self.gap += 1;
            self.missed.fetch_add(1, Ordering::Relaxed);
            self.tell_once();
            return;
        }
        self.close_gap();
        Record::of(message.identity(), message.payload()).write(&mut self.chunk.bytes);
    }

    /// Has what was noted written, if there is room for it. False if not.
    pub(super) fn flush(&mut self) -> bool {
        self.chunk.is_empty() || self.sink.try_write(&mut self.chunk)
    }

    /// Messages go on all the same.
    fn tell_once(&mut self) {
        if self.sink.is_broken() && !std::mem::replace(&mut self.told, true) {
            let text = format!("the capture in {} cannot be written any more", self.path.display());
            self.console.note(&Remark { event: "capture_broken", text });
        }
    }

    fn close_gap(&mut self) {
        if self.gap > 0 {
            Record::missed(std::mem::take(&mut self.gap)).write(&mut self.chunk.bytes);
        }
    }

    /// Waits until all is written.
    pub(super) async fn finish(mut self) -> Result<(), Failure> {
        self.close_gap();
        if !self.chunk.is_empty() {
            // If that fails, the end says why.
            let _ = self.sink.write(self.chunk).await;
        }
        self.sink.finish().await.map_err(|error| {
            Failure::failed(format!("the capture in {} is not complete: {error}", self.path.display()))
        })
    }
}
