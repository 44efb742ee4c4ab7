//! Writing without holding up the socket: a thread of its own, behind a queue that is bounded in bytes.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use aiomsg_tokio::Message;
use tokio::sync::{Semaphore, oneshot};

/// What may wait to be written, in bytes; one chunk that is larger waits alone.
const ROOM: usize = 4 << 20;

/// From this size on, a chunk is worth being written.
const WORTHWHILE: usize = 64 << 10;

/// What is written in one go, and which messages are in it.
#[derive(Debug, Default)]
pub(crate) struct Chunk {
    pub(crate) bytes: Vec<u8>,
    /// Acknowledged when it is written, and rejected if it never is.
    pub(crate) messages: Vec<Message>,
}

impl Chunk {
    /// Whether there is nothing to write, and nothing to acknowledge: an empty message may have no bytes of its own.
    pub(crate) const fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.messages.is_empty()
    }

    /// Whether to write it now, though more may be on its way.
    pub(crate) const fn is_worthwhile(&self) -> bool {
        self.size() >= WORTHWHILE
    }

    /// Messages count, too: those that are short need more memory than what is written of them.
    const fn size(&self) -> usize {
        self.bytes.len() + self.messages.len() * size_of::<Message>()
    }

    fn permits(&self) -> u32 {
        u32::try_from(self.size().min(ROOM)).unwrap_or(u32::MAX)
    }
}

/// Nothing can be written any more; [`Sink::finish`] says why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Broken;

/// A file, or the standard output.
#[derive(Debug)]
pub(crate) struct Sink {
    queue: Sender<Chunk>,
    room: Arc<Semaphore>,
    /// Nothing is sent: it is gone when the thread has ended.
    ended: oneshot::Receiver<()>,
    thread: JoinHandle<io::Result<()>>,
}

impl Sink {
    /// The standard output.
    pub(crate) fn stdout() -> io::Result<Self> {
        Self::start(io::stdout())
    }

    /// A file, behind what is in it. `-` is the standard output.
    pub(crate) fn append(path: &Path) -> io::Result<Self> {
        if path == Path::new("-") {
            return Self::stdout();
        }
        Self::start(OpenOptions::new().append(true).create(true).open(path)?)
    }

    fn start(out: impl Write + Send + 'static) -> io::Result<Self> {
        let room = Arc::new(Semaphore::new(ROOM));
        let (queue, chunks) = channel();
        let free = room.clone();
        let (running, ended) = oneshot::channel();
        let thread = std::thread::Builder::new().name("output".to_owned()).spawn(move || {
            let result = write_all(out, &chunks, &free);
            // Whoever waits for room, or is about to, hears of it.
            free.close();
            drop(running);
            result
        })?;
        Ok(Self { queue, room, ended, thread })
    }

    /// Lines a chunk up, when there is room for it.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, the chunk is dropped.
    pub(crate) async fn write(&self, chunk: Chunk) -> Result<(), Broken> {
        let permits = self.room.acquire_many(chunk.permits()).await.map_err(|_| Broken)?;
        permits.forget();
        self.queue.send(chunk).map_err(|_| Broken)
    }

    /// Lines a chunk up and leaves an empty one, if there is room for it; says whether it did.
    pub(crate) fn try_write(&self, chunk: &mut Chunk) -> bool {
        match self.room.try_acquire_many(chunk.permits()) {
            Ok(permits) => {
                permits.forget();
                self.queue.send(std::mem::take(chunk)).is_ok()
            }
            Err(_) => false,
        }
    }

    /// Waits until nothing can be written any more, which may never be.
    ///
    /// # Cancel safety
    /// May be dropped at any time.
    pub(crate) async fn broken(&mut self) {
        let _ = (&mut self.ended).await;
    }

    /// Whether nothing can be written any more.
    pub(crate) fn is_broken(&self) -> bool {
        self.room.is_closed()
    }

    /// Waits until all is written.
    pub(crate) async fn finish(self) -> io::Result<()> {
        let Self { queue, thread, .. } = self;
        drop(queue);
        let joined = tokio::task::spawn_blocking(move || thread.join()).await;
        joined.ok().and_then(Result::ok).unwrap_or_else(|| Err(io::Error::other("writing broke off")))
    }
}

fn write_all(mut out: impl Write, chunks: &Receiver<Chunk>, room: &Semaphore) -> io::Result<()> {
    for chunk in chunks {
        out.write_all(&chunk.bytes)?;
        out.flush()?;
        room.add_permits(chunk.permits() as usize);
        chunk.messages.into_iter().for_each(Message::acknowledge);
    }
    Ok(())
}
