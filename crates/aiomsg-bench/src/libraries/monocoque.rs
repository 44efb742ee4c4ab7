//! monocoque on one thread of tokio. A socket is one connection. What is sent is lined up until there are 64 KiB of it, or
//! until it is flushed.

use std::future::Future;

use ::monocoque::zmq::{PullSocket, PushSocket, RepSocket, ReqSocket, SocketOptions};
use bytes::Bytes;
use tokio::task::LocalSet;

use super::on_one_thread;
use crate::library::{Library, Role, Way};

pub struct Monocoque;

pub enum Socket {
    Push(PushSocket),
    Pull(PullSocket, Vec<Bytes>),
    Ask(ReqSocket),
    Answer(RepSocket),
}

impl Library for Monocoque {
    type Socket = Socket;
    type Message = Bytes;

    fn block_on<T>(task: impl Future<Output = T>) -> T {
        on_one_thread(LocalSet::new().run_until(task))
    }

    async fn open(role: Role, way: Way, address: &str) -> Socket {
        match (role, way) {
            (Role::Push, Way::Connect) => {
                let options = SocketOptions::default().with_write_coalescing(true);
                Socket::Push(
                    PushSocket::connect_with_options(address, options).await.expect("somebody listens"),
                )
            }
            (Role::Pull, Way::Bind) => {
                crate::ends::say_ready();
                Socket::Pull(PullSocket::bind(address).await.expect("a free port").1, Vec::new())
            }
            (Role::Ask, Way::Connect) => {
                Socket::Ask(ReqSocket::connect(&format!("tcp://{address}")).await.expect("somebody listens"))
            }
            (Role::Answer, Way::Bind) => {
                crate::ends::say_ready();
                Socket::Answer(RepSocket::bind(address).await.expect("a free port").1)
            }
            _ => panic!("it is not asked for this"),
        }
    }

    async fn send(socket: &mut Socket, payload: Bytes) {
        match socket {
            Socket::Push(socket) => socket.send_one(payload).await,
            Socket::Ask(socket) => socket.send_one(payload).await,
            Socket::Answer(socket) => socket.send(vec![payload]).await,
            Socket::Pull(..) => panic!("it only receives"),
        }
        .expect("open");
    }

    async fn receive(socket: &mut Socket) -> Bytes {
        match socket {
            Socket::Pull(socket, parts) => {
                parts.clear();
                assert!(socket.recv_into(parts).await.expect("open"), "the peer has left");
                parts.pop().expect("one part")
            }
            Socket::Ask(socket) => {
                socket.recv().await.expect("open").expect("an answer").pop().expect("one part")
            }
            Socket::Answer(socket) => {
                socket.recv().await.expect("open").expect("a question").pop().expect("one part")
            }
            Socket::Push(_) => panic!("it only sends"),
        }
    }

    async fn send_on(socket: &mut Socket, message: Bytes) {
        Self::send(socket, message).await;
    }
}
