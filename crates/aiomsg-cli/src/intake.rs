//! Taking messages one after another until it is time to stop.

use std::time::Duration;

use aiomsg_tokio::{Closed, Message, Socket};

use crate::stop::{Signal, Stop};

/// After this many messages without a wait, others run once: the tasks that read and write.
const FAIR_SHARE: u32 = 256;

/// The messages of a socket, until somebody says stop.
#[derive(Debug)]
pub(crate) struct Intake {
    socket: Socket,
    stop: Stop,
    in_a_row: u32,
}

/// What came of waiting for a message.
#[derive(Debug)]
pub(crate) enum Taken {
    Message(Message),
    /// It is to stop.
    Stopped(Signal),
    /// None came in time.
    TimeUp,
}

impl Intake {
    pub(crate) const fn new(socket: Socket, stop: Stop) -> Self {
        Self { socket, stop, in_a_row: 0 }
    }

    /// A message that is there, unless it is time to stop. Under load this is all that is called: it costs no timer and
    /// no look at signals.
    pub(crate) async fn at_once(&mut self) -> Result<Option<Message>, Closed> {
        if self.in_a_row >= FAIR_SHARE {
            self.in_a_row = 0;
            tokio::task::yield_now().await;
            if self.stop.asked().is_some() {
                return Ok(None);
            }
        }
        self.in_a_row += 1;
        self.socket.try_recv_message()
    }

    /// The next message; `None` for a `timeout` means to wait as long as it takes.
    pub(crate) async fn wait(&mut self, timeout: Option<Duration>) -> Result<Taken, Closed> {
        self.in_a_row = 0;
        let time_up = async {
            match timeout {
                Some(span) => tokio::time::sleep(span).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            signal = self.stop.requested() => Ok(Taken::Stopped(signal)),
            message = self.socket.recv_message() => message.map(Taken::Message),
            () = time_up => Ok(Taken::TimeUp),
        }
    }
}
