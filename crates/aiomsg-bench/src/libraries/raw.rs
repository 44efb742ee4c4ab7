//! Frames over TCP, and nothing else. The sender writes frames that it has made before, 64 KiB at a time; so nobody can be
//! faster, but for what the caches of the processor decide.

use std::future::Future;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::on_one_thread;
use crate::library::{Library, Role, Way};

const CHUNK: usize = 64 * 1024;
const READ: usize = 256 * 1024;

pub struct Raw;

pub struct Socket {
    streams: Vec<TcpStream>,
    /// The stream that is read.
    next: usize,
    role: Role,
    /// As many frames as fit into a chunk, all alike; and how many of them have been sent.
    chunk: Bytes,
    frame: usize,
    filled: usize,
    buffer: BytesMut,
}

impl Library for Raw {
    type Socket = Socket;
    type Message = Bytes;

    fn block_on<T>(task: impl Future<Output = T>) -> T {
        on_one_thread(task)
    }

    async fn open(role: Role, way: Way, address: &str) -> Socket {
        let mut streams = Vec::new();
        match way {
            Way::Connect => streams.push(TcpStream::connect(address).await.expect("somebody listens")),
            Way::Bind => {
                let listener = TcpListener::bind(address).await.expect("a free port");
                crate::ends::say_ready();
                let peers = if let Role::Publish { subscribers } = role { subscribers } else { 1 };
                for _ in 0..peers {
                    streams.push(listener.accept().await.expect("a peer").0);
                }
            }
        }
        for stream in &streams {
            stream.set_nodelay(true).expect("a TCP stream");
        }
        Socket { streams, next: 0, role, chunk: Bytes::new(), frame: 0, filled: 0, buffer: BytesMut::new() }
    }

    async fn send(socket: &mut Socket, payload: Bytes) {
        if socket.chunk.is_empty() {
            let frame = [&(payload.len() as u32).to_be_bytes()[..], &payload].concat();
            socket.frame = frame.len();
            socket.chunk = frame.repeat((CHUNK / frame.len()).max(1)).into();
        }
        socket.filled += socket.frame;
        if socket.filled >= socket.chunk.len() || matches!(socket.role, Role::Ask | Role::Answer) {
            for stream in &mut socket.streams {
                stream.write_all(&socket.chunk[..socket.filled]).await.expect("the peer reads");
            }
            socket.filled = 0;
        }
    }

    async fn receive(socket: &mut Socket) -> Bytes {
        loop {
            if let Some(prefix) = socket.buffer.first_chunk() {
                let length = u32::from_be_bytes(*prefix) as usize;
                if socket.buffer.len() >= 4 + length {
                    socket.buffer.advance(4);
                    return socket.buffer.split_to(length).freeze();
                }
            }
            let size = if matches!(socket.role, Role::Ask | Role::Answer) { 4_096 } else { READ };
            socket.buffer.reserve(size);
            let stream = &mut socket.streams[socket.next];
            if stream.read_buf(&mut socket.buffer).await.expect("the peer writes") == 0 {
                std::future::pending::<()>().await;
            }
        }
    }

    async fn send_on(socket: &mut Socket, message: Bytes) {
        Self::send(socket, message).await;
    }
}
