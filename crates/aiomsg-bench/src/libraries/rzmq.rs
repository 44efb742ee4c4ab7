//! rzmq on one thread of tokio.

use std::future::Future;
use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use rzmq::socket::options;
use rzmq::{Context, Msg, SocketType};

use super::on_one_thread;
use crate::library::{Library, Role, Way};

pub struct Rzmq;

static CONTEXT: LazyLock<Context> = LazyLock::new(|| Context::new().expect("a context"));

pub struct RzmqMessage(Msg);

impl AsRef<[u8]> for RzmqMessage {
    fn as_ref(&self) -> &[u8] {
        self.0.data().unwrap_or_default()
    }
}

impl Library for Rzmq {
    type Socket = rzmq::Socket;
    type Message = RzmqMessage;

    /// All connections of a process are told of each that comes, and one that lags 256 such events behind ends.
    const PAUSE: Duration = Duration::from_millis(50);

    fn block_on<T: Send + 'static>(task: impl Future<Output = T> + Send + 'static) -> T {
        on_one_thread(task)
    }

    async fn open(role: Role, way: Way, address: &str) -> rzmq::Socket {
        let kind = match role {
            Role::Push | Role::Idle => SocketType::Push,
            Role::Pull { .. } | Role::Hold { .. } => SocketType::Pull,
            Role::Publish { .. } => SocketType::Pub,
            Role::Subscribe => SocketType::Sub,
            Role::Ask => SocketType::Req,
            Role::Answer => SocketType::Rep,
        };
        let socket = CONTEXT.socket(kind).expect("a socket");
        if matches!(role, Role::Publish { .. }) {
            socket.set_option(options::XPUB_NODROP, 1_i32).await.expect("an option");
        }
        if let Some(interval) = role.heartbeats() {
            let interval = interval.as_millis() as i32;
            socket.set_option(options::HEARTBEAT_IVL, interval).await.expect("an option");
        }
        if let Role::Hold { senders } = role {
            // By itself it accepts no more than 1,024.
            socket.set_option(options::MAX_CONNECTIONS, senders as i32).await.expect("an option");
        }
        let endpoint = format!("tcp://{address}");
        match way {
            Way::Bind => {
                socket.bind(&endpoint).await.expect("a free port");
                crate::ends::say_ready();
            }
            Way::Connect => socket.connect(&endpoint).await.expect("an address"),
        }
        match role {
            // It does not tell who has subscribed.
            Role::Publish { .. } => tokio::time::sleep(Duration::from_millis(500)).await,
            Role::Subscribe => {
                socket.set_option_raw(options::SUBSCRIBE, b"").await.expect("a subscriber");
            }
            _ => {}
        }
        socket
    }

    async fn send(socket: &mut rzmq::Socket, payload: &Bytes) {
        socket.send(Msg::from_bytes(payload.clone())).await.expect("open");
    }

    async fn offer(socket: &mut rzmq::Socket, payload: &Bytes) {
        // It has no call that does not wait.
        let sent = socket.send(Msg::from_bytes(payload.clone()));
        drop(tokio::time::timeout(Duration::from_millis(1), sent).await);
    }

    async fn receive(socket: &mut rzmq::Socket) -> RzmqMessage {
        RzmqMessage(socket.recv().await.expect("open"))
    }

    async fn send_on(socket: &mut rzmq::Socket, message: RzmqMessage) {
        socket.send(message.0).await.expect("open");
    }
}
