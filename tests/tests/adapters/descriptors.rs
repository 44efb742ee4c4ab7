//! A process that runs out of descriptors goes on.
//!
//! The limit is that of a whole process, so the scenario runs in a child: this program again, with one test of it.

use std::process::Command;

use crate::support::{Adapter, Raw, bind, join, round_trip, socket, spawn, within};
use aiomsg_smol::Smol;
use aiomsg_tokio::Tokio;

const CHILD: &str = "AIOMSG_TEST_DESCRIPTORS";

/// Descriptors that the child may have.
const LIMIT: u64 = 64;

fn out_of_descriptors_is_survived(child: &str) {
    let program = std::env::current_exe().expect("this program");
    let output = Command::new(program)
        .args(["--exact", child, "--include-ignored", "--nocapture"])
        .env(CHILD, "1")
        .output()
        .expect("it can be run");
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

#[test]
fn tokio_survives_without_descriptors() {
    out_of_descriptors_is_survived("descriptors::tokio_child");
}

#[test]
fn smol_survives_without_descriptors() {
    out_of_descriptors_is_survived("descriptors::smol_child");
}

#[test]
#[ignore = "a part of the test above, which lowers a limit of its process"]
fn tokio_child() {
    scenario_of_the_child::<Tokio>();
}

#[test]
#[ignore = "a part of the test above, which lowers a limit of its process"]
fn smol_child() {
    scenario_of_the_child::<Smol>();
}

fn scenario_of_the_child<R: Adapter>() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    R::run(async {
        let (server, client) = (socket::<R>(), socket::<R>());
        let address = bind(&server).await;
        join(&client, address).await;
        let echo = server.clone();
        spawn::<R, _>(async move {
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
        let late = socket::<R>();
        late.connect(address).expect("an address");
        round_trip(&client, "while another one tries").await;
        drop(crowd);
        within("a late peer", late.wait_for_peers(1)).await.expect("open");
        round_trip(&late, "served after all").await;
    });
}
