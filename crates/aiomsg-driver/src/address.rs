//! What a place in the network may be given as, and what is none.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::sync::Arc;

use aiomsg_proto::Closed;

/// A host and a port, as text (`"localhost:25000"`), as an address, or as a pair of both (`("localhost", 25000)`).
///
/// What the host is called is left to the system: any name that it finds will do, also later. What can be no address is
/// refused with an explanation, by the socket or, where it is read, by [`to_bind`](Self::to_bind) and
/// [`to_connect`](Self::to_connect).
pub trait ToAddress {
    /// The text: `HOST:PORT`, with the host in brackets if it is an IPv6 address.
    fn to_address(&self) -> String;

    /// The text, if it is an address to accept connections at; port 0 stands for any free one.
    ///
    /// # Errors
    /// [`ConnectError::Address`].
    fn to_bind(&self) -> Result<String, ConnectError> {
        let address = self.to_address();
        match port(&address) {
            Ok(_) => Ok(address),
            Err(reason) => Err(ConnectError::Address { address, reason }),
        }
    }

    /// The text, if it is an address to connect to.
    ///
    /// # Errors
    /// [`ConnectError::Address`] and [`ConnectError::PortZero`].
    fn to_connect(&self) -> Result<String, ConnectError> {
        let address = self.to_address();
        match port(&address) {
            Ok(0) => Err(ConnectError::PortZero { address }),
            Ok(_) => Ok(address),
            Err(reason) => Err(ConnectError::Address { address, reason }),
        }
    }
}

/// An address cannot be connected, or bound.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The address is not a host and a port.
    #[error("{address:?} is not an address: {reason}")]
    Address {
        /// The address as it was given.
        address: String,
        /// What is wrong with it, and what would be right, in words.
        reason: String,
    },
    /// The port is 0, which stands for any free one where a socket is bound, and for none to connect to.
    #[error("{address:?} has port 0, to which nobody can connect; expected the port of the end that binds")]
    PortZero {
        /// The address as it was given.
        address: String,
    },
    /// The socket is closed.
    #[error(transparent)]
    Closed(#[from] Closed),
}

/// [`InvalidInput`](io::ErrorKind::InvalidInput), or [`NotConnected`](io::ErrorKind::NotConnected) if the socket is closed.
impl From<ConnectError> for io::Error {
    fn from(error: ConnectError) -> Self {
        let kind = match error {
            ConnectError::Address { .. } | ConnectError::PortZero { .. } => io::ErrorKind::InvalidInput,
            ConnectError::Closed(_) => io::ErrorKind::NotConnected,
        };
        Self::new(kind, error)
    }
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

addresses!(str, String, Arc<str>, Box<str>, SocketAddr, SocketAddrV4, SocketAddrV6: |address| address.to_string());
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

/// The port of an address, or why it is none. Only what no system can make sense of is refused.
fn port(text: &str) -> Result<u16, String> {
    if text.is_empty() {
        return Err("expected HOST:PORT, for example 127.0.0.1:25000".to_owned());
    }
    if text.contains("://") {
        return Err("expected HOST:PORT without a scheme, for example 127.0.0.1:25000".to_owned());
    }
    if text.contains(|letter: char| letter.is_whitespace() || letter.is_control()) {
        return Err("expected HOST:PORT without spaces, for example 127.0.0.1:25000".to_owned());
    }
    let Some((host, port)) = text.rsplit_once(':').filter(|_| !text.ends_with(']')) else {
        return Err(match text.parse::<u16>() {
            Ok(port) => without_host(port),
            Err(_) if text.starts_with('-') || text.contains([',', ';', '/', '@']) => {
                "expected HOST:PORT, for example 127.0.0.1:25000".to_owned()
            }
            Err(_) => format!("a host without a port; try {text}:25000"),
        });
    };
    let inside = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    if inside.is_none() && host.contains(':') {
        return Err(without_brackets(text, host, port));
    }
    let Ok(number) = port.parse::<u16>() else {
        return Err(format!(
            "{port:?} is not a port; expected a number from 0 to 65535, as in 127.0.0.1:25000"
        ));
    };
    match (host, inside) {
        ("", _) => Err(without_host(number)),
        ("*", _) => {
            Err(format!("* is not a host; try 0.0.0.0:{number} to bind all addresses of this machine"))
        }
        (_, Some(inside)) if !is_ipv6(inside) => {
            Err(format!("brackets are for IPv6 addresses, as in [::1]:{number}"))
        }
        _ => Ok(number),
    }
}

/// Whether it is an IPv6 address, perhaps with a zone.
fn is_ipv6(host: &str) -> bool {
    let (address, zone) = host.split_once('%').unwrap_or((host, ""));
    address.parse::<Ipv6Addr>().is_ok() && !zone.contains(':')
}

/// More than one colon, and no brackets: where the port begins is anybody's guess.
fn without_brackets(text: &str, host: &str, port: &str) -> String {
    let whole = is_ipv6(text).then(|| format!("[{text}]:25000"));
    let front = is_ipv6(host).then(|| format!("[{host}]:{port}"));
    match whole.into_iter().chain(front).reduce(|whole, front| format!("{whole} or {front}")) {
        Some(guess) => format!("an IPv6 address needs brackets before its port; try {guess}"),
        None => {
            "expected HOST:PORT with one colon, or an IPv6 address in brackets, as in [::1]:25000".to_owned()
        }
    }
}

fn without_host(port: u16) -> String {
    format!(
        "a port without a host; try 127.0.0.1:{port} for this machine, or, to bind all its addresses, 0.0.0.0:{port}"
    )
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
        assert_eq!(Arc::<str>::from(text).to_address(), text);
        assert_eq!(Box::<str>::from(text).to_address(), text);
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
    fn what_can_be_no_address_is_told_with_what_would() {
        for (text, hint) in [
            ("", "127.0.0.1:25000"),
            ("25000", "127.0.0.1:25000"),
            (":25000", "0.0.0.0:25000"),
            ("*:25000", "0.0.0.0:25000"),
            ("localhost", "localhost:25000"),
            ("127.0.0.1,25000", "HOST:PORT, for example 127.0.0.1:25000"),
            ("-1", "HOST:PORT, for example 127.0.0.1:25000"),
            ("127.0.0.1", "127.0.0.1:25000"),
            ("localhost:", "\"\" is not a port"),
            ("localhost:http", "not a port"),
            ("localhost:1/path", "not a port"),
            ("localhost:65536", "65535"),
            ("localhost:-1", "65535"),
            ("tcp://localhost:1", "without a scheme"),
            ("tcp://*:1", "without a scheme"),
            (" localhost:1", "without spaces"),
            ("local host:1", "without spaces"),
            ("localhost:1\n", "without spaces"),
            ("localhost:\u{0}1", "without spaces"),
            ("::1", "try [::1]:25000"),
            ("::", "try [::]:25000"),
            ("fe80::1:25000", "try [fe80::1]:25000"),
            ("fe80::1:2500", "try [fe80::1:2500]:25000 or [fe80::1]:2500"),
            ("1:2:3:4:5:6:7:8", "try [1:2:3:4:5:6:7:8]:25000"),
            ("1:2:3:4:5:6:7:8:25000", "try [1:2:3:4:5:6:7:8]:25000"),
            ("fe80::1%eth0:25000", "try [fe80::1%eth0]:25000"),
            ("localhost:25000:1", "one colon"),
            ("[::1]", "try [::1]:25000"),
            ("[::1", "[::1]:25000"),
            ("[::1:25000", "[::1]:25000"),
            ("[localhost]:1", "as in [::1]:1"),
            ("[]:1", "as in [::1]:1"),
        ] {
            for error in [text.to_bind(), text.to_connect()].map(|checked| checked.expect_err(text)) {
                let ConnectError::Address { address, reason } = &error else { panic!("{error}") };
                assert_eq!(address, text);
                assert!(reason.contains(hint), "{text}: {reason}");
                assert!(error.to_string().contains(reason), "{error}");
            }
        }
        // What was meant is told without more.
        let error = "1:2:3:4:5:6:7:8:25000".to_bind().expect_err("no brackets").to_string();
        assert!(error.ends_with("port; try [1:2:3:4:5:6:7:8]:25000"), "{error}");
    }

    #[test]
    fn whatever_a_system_may_know_is_an_address() {
        for text in [
            "localhost:1",
            "a.b.example:25000",
            "a.b.example.:1",
            "my_service-2:65535",
            "bücher.example:1",
            "0.0.0.0:1",
            "127.1:1",
            "[::]:1",
            "[::1]:25000",
            "[::ffff:127.0.0.1]:1",
            "[fe80::1%2]:1",
            "[fe80::1%eth0]:1",
        ] {
            assert_eq!(text.to_bind().as_deref(), Ok(text));
            assert_eq!(text.to_connect().as_deref(), Ok(text));
        }
        assert_eq!(("::1", 1).to_connect().as_deref(), Ok("[::1]:1"));
    }

    #[test]
    fn port_zero_can_be_bound_and_not_connected() {
        for text in ["127.0.0.1:0", "[::1]:0", "localhost:00"] {
            assert_eq!(text.to_bind().as_deref(), Ok(text));
            assert_eq!(text.to_connect(), Err(ConnectError::PortZero { address: text.to_owned() }));
        }
    }

    #[test]
    fn errors_are_errors_of_the_system_by_kind() {
        let kind = |error| io::Error::from(error).kind();
        let kinds = [
            kind("".to_bind().expect_err("no address")),
            kind("a:0".to_connect().expect_err("port 0")),
            kind(Closed.into()),
        ];
        assert_eq!(
            kinds,
            [io::ErrorKind::InvalidInput, io::ErrorKind::InvalidInput, io::ErrorKind::NotConnected]
        );
        let error = io::Error::from("*:1".to_bind().expect_err("no host"));
        assert!(error.to_string().contains("0.0.0.0:1"), "{error}");
    }
}
