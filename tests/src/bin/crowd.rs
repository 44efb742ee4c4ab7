//! Connects many peers to an address, each of which says the same and then nothing; they stay until the input ends.

#![expect(clippy::print_stdout, reason = "whoever started it waits for the line")]

use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};

use aiomsg_tests::crowd::{ALL_THERE, Says};
use clap::Parser;

#[derive(Parser)]
#[command(about, long_about = None)]
struct Args {
    /// Where to connect.
    address: SocketAddr,
    /// How many peers.
    count: u32,
    /// What each says.
    says: Says,
}

fn main() -> io::Result<()> {
    let args = Args::parse();
    let mut peers = Vec::new();
    for number in 0..args.count {
        let mut peer = TcpStream::connect(args.address)?;
        // Who says too much is hung up on, perhaps.
        drop(peer.write_all(&args.says.bytes(number)));
        peers.push(peer);
    }
    println!("{ALL_THERE}");
    io::copy(&mut io::stdin(), &mut io::sink())?;
    drop(peers);
    Ok(())
}
