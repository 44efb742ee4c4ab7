//! What a place in the network may be given as.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// A host and a port, as text (`"localhost:25000"`), as an address, or as a pair of both (`("localhost", 25000)`).
pub trait ToAddress {
    /// The text: `HOST:PORT`, with the host in brackets if it is an IPv6 address.
    fn to_address(&self) -> String;
}

macro_rules! addresses {
    ($($type:ty),*: |$this:ident| $text:expr) => {
        $(
            impl ToAddress for $type {
                fn to_address(&self) -> String {
                    let $this = self;
                    $text
                }
            }
        )*
    };
}

addresses!(str, String, SocketAddr, SocketAddrV4, SocketAddrV6: |address| address.to_string());
addresses!((&str, u16), (String, u16): |address| match address.0.parse() {
    Ok(ip) => SocketAddr::new(ip, address.1).to_string(),
    Err(_) => format!("{}:{}", address.0, address.1),
});
addresses!((IpAddr, u16), (Ipv4Addr, u16), (Ipv6Addr, u16): |address| SocketAddr::from(*address).to_string());

impl<T: ToAddress + ?Sized> ToAddress for &T {
    fn to_address(&self) -> String {
        (**self).to_address()
    }
}

/// The port of an address, if it is a host and a port.
pub(crate) fn port(address: &str) -> Option<u16> {
    let (host, port) = address.rsplit_once(':')?;
    port.parse().ok().filter(|_| !host.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_forms_give_the_same_text() {
        let text = "127.0.0.1:25000";
        let address: SocketAddr = text.parse().expect("an address");
        let host = Ipv4Addr::LOCALHOST;
        assert_eq!(text.to_address(), text);
        assert_eq!(address.to_address(), text);
        assert_eq!((host, 25_000).to_address(), text);
        assert_eq!((IpAddr::from(host), 25_000).to_address(), text);
        assert_eq!(("127.0.0.1", 25_000).to_address(), text);
        for ipv6 in
            [(Ipv6Addr::LOCALHOST, 1).to_address(), ("::1", 1).to_address(), ("[::1]", 1).to_address()]
        {
            assert_eq!(ipv6, "[::1]:1");
        }
    }

    #[test]
    fn a_port_needs_a_host() {
        assert_eq!(
            (port("a:1"), port("[::1]:0"), port(":1"), port("a"), port("a:x")),
            (Some(1), Some(0), None, None, None)
        );
    }
}
