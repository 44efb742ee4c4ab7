//! Addresses as they are given on the command line: `HOST:PORT`.

/// An address to accept connections at.
pub(crate) fn to_bind(text: &str) -> Result<String, String> {
    parse(text).map(|_| text.to_owned())
}

/// An address to connect to.
pub(crate) fn to_connect(text: &str) -> Result<String, String> {
    match parse(text)? {
        0 => Err("port 0 stands for any free port, and only an address that is bound can have it".to_owned()),
        _ => Ok(text.to_owned()),
    }
}

/// The port of an address that makes sense.
fn parse(text: &str) -> Result<u16, String> {
    if text.contains("://") {
        return Err("expected HOST:PORT without a scheme, for example 127.0.0.1:25000".to_owned());
    }
    if text.is_empty() {
        return Err("expected HOST:PORT, for example 127.0.0.1:25000".to_owned());
    }
    let Some((host, port)) = text.rsplit_once(':') else {
        return Err(match text.parse::<u16>() {
            Ok(port) => without_host(port),
            Err(_) => format!("a host without a port; try {text}:25000"),
        });
    };
    let in_brackets = host.starts_with('[') && host.ends_with(']');
    if host.contains(':') && !in_brackets {
        return Err(format!(
            "an IPv6 address needs brackets before its port; try [{text}]:25000 or [{host}]:{port}"
        ));
    }
    let Ok(port) = port.parse::<u16>() else {
        return Err(format!(
            "{port:?} is not a port; expected a number from 0 to 65535, as in 127.0.0.1:25000"
        ));
    };
    if host.is_empty() {
        return Err(without_host(port));
    }
    Ok(port)
}

fn without_host(port: u16) -> String {
    format!(
        "a port without a host; try 127.0.0.1:{port} for this machine alone, or 0.0.0.0:{port} to be reached by all"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_no_sense_is_told_with_what_would() {
        for (text, hint) in [
            ("25000", "127.0.0.1:25000"),
            ("", "127.0.0.1:25000"),
            (":25000", "0.0.0.0:25000"),
            ("localhost", "localhost:25000"),
            ("::1", "[::1]:25000"),
            ("fe80::1:25000", "[fe80::1]:25000"),
            ("localhost:http", "not a port"),
            ("localhost:70000", "65535"),
            ("tcp://localhost:1", "without a scheme"),
        ] {
            let error = to_bind(text).expect_err(text);
            assert!(error.contains(hint), "{text}: {error}");
        }
        assert!(to_connect("localhost:0").is_err());
        for text in ["localhost:0", "[::1]:25000", "0.0.0.0:25000", "a.b.example:1"] {
            assert_eq!(to_bind(text).as_deref(), Ok(text));
        }
    }
}
