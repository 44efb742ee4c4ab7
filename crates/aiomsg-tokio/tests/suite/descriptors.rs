//! A process that runs out of descriptors goes on.
//!
//! The limit is that of a whole process, so the scenario runs in a child: this program again, with one test of it.

use std::process::Command;

use crate::support::{Raw, bind, join, round_trip, socket, within};

const CHILD: &str = "AIOMSG_TEST_DESCRIPTORS";

/// Descriptors that the child may have.
const LIMIT: u64 = 64;

#[test]
fn out_of_descriptors_is_survived() {
    let program = std::env::current_exe().expect("this program");
    let output = Command::new(program)
        .args(["--exact", "descriptors::scenario_of_the_child", "--include-ignored", "--nocapture"])
        .env(CHILD, "1")
        .output()
        .expect("it can be run");
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

#[test]
#[ignore = "a part of the test above, which lowers a limit of its process"]
fn scenario_of_the_child() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("descriptors");
    runtime.block_on(async {
        let (server, client) = (socket(), socket());
        let address = bind(&server).await;
        join(&client, address).await;
        let echo = server.clone();
        tokio::spawn(async move {
            while let Ok(received) = echo.recv_from().await {
                drop(echo.send_to(received.identity, received.payload).await);
            }
        });
        rlimit::setrlimit(rlimit::Resource::NOFILE, LIMIT, LIMIT).expect("lower is allowed");
        // Both ends are in this process, so that one of them is the first to find none.
        let mut crowd: Vec<Raw> = Vec::new();
        while let Ok(stream) = std::net::TcpStream::connect(address) {
            crowd.push(Raw(stream));
            round_trip(&client, "while it gets crowded").await;
        }
        assert!(crowd.len() > 10);
        assert!(std::net::TcpStream::connect(address).is_err(), "there are no descriptors left");
        for _ in 0..100 {
            round_trip(&client, "while there are none left").await;
        }
        // One that cannot even connect for now.
        let late = socket();
        late.connect(address.to_string()).expect("an address");
        round_trip(&client, "while another one tries").await;
        drop(crowd);
        within("a late peer", late.wait_for_peers(1)).await.expect("open");
        round_trip(&late, "served after all").await;
    });
}
