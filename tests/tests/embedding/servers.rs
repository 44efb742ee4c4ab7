//! The examples that are connected: `mio` and `custom_runtime`.

use std::io::Write;
use std::net::TcpStream;
use std::sync::mpsc::channel;
use std::time::Duration;

use aiomsg_driver::{Runtime, Socket};
use aiomsg_proto::Limit;
use aiomsg_tests::program::Program;
use bytes::Bytes;

use crate::support::{client, exchange, on_both, slow_line, soon};

on_both! {
    a_hundred_clients_at_once, large_messages_come_back, bytes_may_come_few_at_a_time,
    a_client_goes_and_comes_back, who_breaks_off_or_talks_nonsense_harms_nobody,
    who_does_not_read_does_not_keep_the_others_waiting,
}

const SERVERS: [&str; 2] = ["mio", "custom_runtime"];

async fn a_hundred_clients_at_once<R: Runtime>() {
    for name in SERVERS {
        let (server, address) = Program::serve(name, &["--messages", "500"]);
        let clients: Vec<Socket<R>> = (0..100).map(|_| client(&address)).collect();
        for client in &clients {
            soon(client, client.wait_for_peers(1)).await.expect("it is open");
        }
        for (number, client) in clients.iter().enumerate() {
            exchange(client, (0..5).map(|each| Bytes::from(format!("{number}/{each}")))).await;
        }
        server.end().assert_success("echoed 500 messages; 0 were not handed over");
    }
}

async fn large_messages_come_back<R: Runtime>() {
    for name in SERVERS {
        let (server, address) = Program::serve(name, &["--messages", "10"]);
        let client = client::<R>(&address);
        exchange(&client, (0..10).map(|number| Bytes::from(vec![number; 6_000_000]))).await;
        server.end().assert_success("echoed 10 messages; 0 were not handed over");
    }
}

async fn bytes_may_come_few_at_a_time<R: Runtime>() {
    for name in SERVERS {
        let (server, address) = Program::serve(name, &["--messages", "20"]);
        let client = client::<R>(&slow_line(address));
        exchange(&client, (0..20).map(|number| Bytes::from(vec![number; 300]))).await;
        server.end().assert_success("echoed 20 messages; 0 were not handed over");
    }
}

async fn a_client_goes_and_comes_back<R: Runtime>() {
    for name in SERVERS {
        let (server, address) = Program::serve(name, &["--messages", "6"]);
        let mut identity = None;
        for life in 0..3 {
            let builder = Socket::<R>::builder();
            let builder = if let Some(identity) = identity { builder.identity(identity) } else { builder };
            let client = builder.build().expect("the defaults are right");
            identity = Some(client.identity());
            client.connect(&address).expect("an address");
            exchange(&client, (0..2).map(|each| Bytes::from(vec![life, each]))).await;
            soon(&client, client.close()).await;
        }
        server.end().assert_success("echoed 6 messages; 0 were not handed over");
    }
}

async fn who_breaks_off_or_talks_nonsense_harms_nobody<R: Runtime>() {
    for name in SERVERS {
        let (server, address) = Program::serve(name, &["--messages", "10"]);
        for bytes in [&b""[..], b"\0", b"\0\0\0\x10half", b"GET / HTTP/1.1\r\n\r\n", &[0xff; 5_000]] {
            let mut bad = TcpStream::connect(&address).expect("it listens");
            bad.write_all(bytes).expect("it takes a few bytes");
        }
        let client = client::<R>(&address);
        exchange(&client, (0..10).map(|number| Bytes::from(vec![number; 10]))).await;
        server.end().assert_success("echoed 10 messages; 0 were not handed over");
    }
}

async fn who_does_not_read_does_not_keep_the_others_waiting<R: Runtime>() {
    for name in SERVERS {
        let (_server, address) = Program::serve(name, &[]);
        // It takes nothing of what comes back, and sends until that is found not to move any more.
        let greedy = Socket::<R>::builder()
            .receive_buffer(Limit::new(1, 1))
            .send_buffer(Limit::new(4, 4_000_000))
            .deadlock_timeout(Duration::from_secs(2))
            .build()
            .expect("these are right");
        greedy.connect(&address).expect("an address");
        let sender = greedy.clone();
        let (teller, stuck) = channel();
        greedy.runtime().spawn(async move {
            let mut sent = 0;
            while sent < 60 && sender.send(Bytes::from(vec![0; 1_000_000])).await.is_ok() {
                sent += 1;
            }
            let _ = teller.send(sent);
        });
        let other = client::<R>(&address);
        let sent = loop {
            exchange(&other, [Bytes::from_static(b"still there?")]).await;
            if let Ok(sent) = stuck.try_recv() {
                break sent;
            }
        };
        assert!(sent > 16, "{name}: it was stuck after {sent} messages, which the server had room for");
        exchange(&other, (0..100).map(|number| Bytes::from(vec![number; 1_000]))).await;
    }
}

#[cfg(unix)]
#[test]
fn a_server_that_is_told_to_stop_ends_orderly() {
    for name in SERVERS {
        let (server, address) = Program::serve(name, &[]);
        let client = Program::start("connection_only", &["--connect", &address, "--messages", "3"]);
        client.end().assert_success("sent 3 messages and got all of them back");
        server.stop();
        server.end().assert_success("echoed 3 messages; 0 were not handed over");
    }
}
