use proptest::prelude::*;

use super::*;

const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// A header of version 2 with these four bytes' worth of fields and this content.
fn v2(command: u8, family: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap().to_be_bytes();
    [V2, &[command, family], &length, content].concat()
}

fn v4_content() -> Vec<u8> {
    vec![192, 0, 2, 7, 10, 0, 0, 1, 0x10, 0x01, 0, 80]
}

fn named(source: &str, destination: &str) -> Option<Named> {
    Some(Named { source: source.parse().unwrap(), destination: destination.parse().unwrap() })
}

/// What the whole is, followed by the first bytes of TLS.
fn whole(header: &[u8]) -> Result<Option<Named>, Malformed> {
    let bytes = [header, b"\x16\x03\x01"].concat();
    match read(&bytes)? {
        Beginning::Header { length, named } => {
            assert_eq!(length, header.len());
            Ok(named)
        }
        other => panic!("{other:?} of {}", header.escape_ascii()),
    }
}

#[test]
fn good_headers_name_the_client_or_nobody() {
    let v4 = named("192.0.2.7:4097", "10.0.0.1:80");
    let v6 = named("[2001:db8::7]:65535", "[::1]:0");
    let mut v6_content = vec![0; 36];
    v6_content[..4].copy_from_slice(&[0x20, 1, 0x0d, 0xb8]);
    (v6_content[15], v6_content[31]) = (7, 1);
    v6_content[32..34].copy_from_slice(&[0xff, 0xff]);
    let with_tlvs = [v4_content(), vec![4; 3_000]].concat();
    let longest: &[u8] = b"PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff \
        ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n";
    assert_eq!(longest.len(), V1_BYTES);
    let cases: [(&[u8], Option<Named>); 13] = [
        (b"PROXY TCP4 192.0.2.7 10.0.0.1 4097 80\r\n", v4),
        (b"PROXY TCP6 2001:db8::7 ::1 65535 0\r\n", v6),
        (b"PROXY UNKNOWN\r\n", None),
        (b"PROXY UNKNOWN what ever stands here, and how often\r\n", None),
        (longest, None),
        (&v2(0x21, 0x11, &v4_content()), v4),
        (&v2(0x21, 0x11, &with_tlvs), v4),
        (&v2(0x21, 0x21, &v6_content), v6),
        (&v2(0x21, 0x31, &[b'/'; 216]), None),
        (&v2(0x21, 0x00, b""), None),
        (&v2(0x20, 0x00, b""), None),
        (&v2(0x20, 0x11, &v4_content()), None),
        (&v2(0x20, 0xff, b"x"), None),
    ];
    for (header, expected) in cases {
        assert_eq!(whole(header), Ok(expected), "{}", header.escape_ascii());
    }
}

#[test]
fn bad_headers_are_none() {
    let endless = [b"PROXY TCP4 ".as_slice(), &[b'1'; 200]].concat();
    let mut huge = v2(0x21, 0x11, &v4_content());
    huge[14..16].copy_from_slice(&4_081_u16.to_be_bytes());
    let cases: [(&[u8], Malformed); 15] = [
        (&endless, Malformed::Length),
        (&huge, Malformed::Length),
        (b"PROXY TCP4 192.0.2.7 10.0.0.1 4097 80 1\r\n", Malformed::Form),
        (b"PROXY TCP4 192.0.2.7 10.0.0.1 4097\r\n", Malformed::Form),
        (b"PROXY TCP4 192.0.2.7 10.0.0.1 4097 \r\n", Malformed::Form),
        (b"PROXY TCP4 192.0.2.07 10.0.0.1 4097 80\r\n", Malformed::Form),
        (b"PROXY TCP4 ::1 ::1 4097 80\r\n", Malformed::Form),
        (b"PROXY TCP4 192.0.2.7 10.0.0.1 65536 80\r\n", Malformed::Form),
        (b"PROXY TCP4  192.0.2.7 10.0.0.1 1 80\r\n", Malformed::Form),
        (b"PROXY UNKNOWNED\r\n", Malformed::Form),
        (b"PROXY UDP4 192.0.2.7 10.0.0.1 4097 80\r\n", Malformed::Form),
        (&v2(0x21, 0x12, &v4_content()), Malformed::Form),
        (&v2(0x21, 0x11, &v4_content()[1..]), Malformed::Form),
        (&v2(0x22, 0x11, &v4_content()), Malformed::Form),
        (&v2(0x11, 0x11, &v4_content()), Malformed::Form),
    ];
    for (header, expected) in cases {
        assert_eq!(read(header), Err(expected), "{}", header.escape_ascii());
    }
}

#[test]
fn what_is_no_header_is_told_by_its_first_other_byte() {
    for other in [
        "GET / HTTP/1.1",
        "POST",
        "PUT",
        "PRI * HTTP/2.0",
        "\x16\x03\x01",
        "\r\nGET",
        "\r\n\r\n\r\n",
        "PROXY\t",
        "proxy ",
    ] {
        assert_eq!(read(other.as_bytes()), Ok(Beginning::Other), "{other:?}");
    }
    for part in ["", "P", "PROXY", "\r", "\r\n\r\n\0\r\nQUIT"] {
        assert_eq!(read(part.as_bytes()), Ok(Beginning::Partial), "{part:?}");
    }
}

#[test]
fn what_is_written_is_what_the_protocol_shows() {
    let header = |version, named| Header { version, named }.bytes();
    let v4 = named("192.0.2.7:4097", "10.0.0.1:80");
    assert_eq!(header(Version::V1, v4), b"PROXY TCP4 192.0.2.7 10.0.0.1 4097 80\r\n");
    assert_eq!(header(Version::V2, v4), v2(0x21, 0x11, &v4_content()));
    let mixed = named("[2001:db8::7]:0", "10.0.0.1:80");
    assert_eq!(header(Version::V1, mixed), b"PROXY TCP6 2001:db8::7 ::ffff:10.0.0.1 0 80\r\n");
    let mapped = named("[::ffff:192.0.2.7]:4097", "10.0.0.1:80");
    assert_eq!(header(Version::V1, mapped), header(Version::V1, v4));
    assert_eq!(header(Version::V1, None), b"PROXY UNKNOWN\r\n");
    assert_eq!(header(Version::V2, None), v2(0x20, 0, b""));
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(source: SocketAddr, destination: SocketAddr) {
        let plain = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
        for version in [Version::V1, Version::V2] {
            let named = Some(Named { source: plain(source), destination: plain(destination) });
            let read = whole(&Header { version, named }.bytes()).unwrap().unwrap();
            let read = Named { source: plain(read.source), destination: plain(read.destination) };
            prop_assert_eq!(Some(read), named);
        }
    }

    /// TCP splits where it likes: nothing is decided before it is whole, and then the same.
    #[test]
    fn a_header_in_pieces_is_the_same(
        kind in 0_usize..6,
        noise in proptest::collection::vec(any::<u8>(), 0..40),
        change in proptest::option::of((0_usize..60, any::<u8>())),
    ) {
        let content = [v4_content(), noise.clone()].concat();
        let mut bytes = match kind {
            0 => b"PROXY TCP4 192.0.2.7 10.0.0.1 4097 80\r\n".to_vec(),
            1 => b"PROXY TCP6 2001:db8::7 ::1 65535 0\r\n".to_vec(),
            2 => [b"PROXY UNKNOWN ".as_slice(), &noise, b"\r\n"].concat(),
            3 => v2(0x21, 0x11, &content),
            4 => v2(0x20, 0x00, &noise),
            _ => noise.clone(),
        };
        if let Some((at, byte)) = change && at < bytes.len() {
            bytes[at] = byte;
        }
        bytes.extend_from_slice(b"GET / HTTP/1.1\r\n\r\n");
        let decided = read(&bytes);
        for end in 0..bytes.len() {
            let part = read(&bytes[..end]);
            prop_assert!(part == Ok(Beginning::Partial) || part == decided, "{part:?} {decided:?}");
            if let Ok(Beginning::Header { length, .. }) = part {
                prop_assert!(length <= end);
            }
        }
    }
}
