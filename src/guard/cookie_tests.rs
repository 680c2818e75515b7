use super::*;

const KEY: &str = "0123456789abcdefghijklmnopqrstuv";
const OTHER: &str = "zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz";

fn read<'a>(lines: &[&'a str]) -> Cookies<'a> {
    let lines: Vec<&[u8]> = lines.iter().map(|line| line.as_bytes()).collect();
    Cookies::read(lines.into_iter(), "sessionid", KeyShape::Alnum32)
}

fn key(text: &str) -> Presented {
    SessionKey::parse(text.as_bytes(), KeyShape::Alnum32)
        .map_or(Presented::Malformed, Presented::Key)
}

fn line(cookies: &Cookies<'_>) -> String {
    String::from_utf8_lossy(cookies.line()).into_owned()
}

#[test]
fn a_clean_line_is_sent_as_it_came() {
    for clean in [
        format!("sessionid={KEY}"),
        format!("csrftoken=abc; sessionid={KEY}; messages=\"a\\054b\""),
        String::from("a=1"),
        String::from("a="),
    ] {
        let cookies = read(&[&clean]);
        assert!(cookies.as_came(), "{clean}");
        assert_eq!(line(&cookies), clean);
    }
    assert!(read(&[]).as_came());
    assert!(read(&[]).line().is_empty());
}

#[test]
fn of_several_session_cookies_the_last_stands() {
    let twice = format!("sessionid={KEY}; a=1; sessionid={OTHER}; b=2");
    assert_eq!(read(&[&twice]).presented(), key(OTHER));
    assert_eq!(line(&read(&[&twice])), format!("a=1; sessionid={OTHER}; b=2"));
    let emptied = format!("sessionid={KEY}; sessionid=");
    assert_eq!(read(&[&emptied]).presented(), Presented::Malformed);
    let lines = [format!("sessionid={KEY}"), format!("x=y; sessionid={OTHER}")];
    let cookies = read(&[&lines[0], &lines[1]]);
    assert_eq!(
        (cookies.presented(), line(&cookies)),
        (key(OTHER), format!("x=y; sessionid={OTHER}"))
    );
}

#[test]
fn what_makes_python_drop_every_cookie_is_left_out_alone() {
    for poison in [
        "foo bar",
        "a;",
        "a=1 2",
        "=v",
        "",
        "a@b=1",
        "path=/",
        "Expires=x",
        "$Version=1",
        "j={\"x\":1}",
        "n=\u{e4}",
        "q=\"open",
        "a[1]=b",
        "t=\t\u{1}",
        "a:b=1",
        "e=\"\\\u{1}\"",
    ] {
        for line_with in
            [format!("{poison}; sessionid={KEY}"), format!("sessionid={KEY}; {poison}")]
        {
            let cookies = read(&[&line_with]);
            assert_eq!(cookies.presented(), key(KEY), "{line_with}");
            assert_eq!(line(&cookies), format!("sessionid={KEY}"), "{line_with}");
        }
    }
}

#[test]
fn a_quoted_key_and_spaces_around_the_sign_are_the_key() {
    for spelled in [format!("sessionid=\"{KEY}\""), format!("a=1;sessionid = {KEY} ")] {
        let cookies = read(&[&spelled]);
        assert_eq!(cookies.presented(), key(KEY));
        assert!(line(&cookies).ends_with(&format!("sessionid={KEY}")));
    }
    let escaped = format!("sessionid=\"\\060{}\"", &KEY[1..]);
    let cookies = read(&[&escaped]);
    assert_eq!((cookies.presented(), cookies.carried()), (Presented::Nothing, true));
    assert!(cookies.line().is_empty());
}

#[test]
fn a_session_cookie_inside_a_quoted_value_is_none() {
    let hidden = format!("a=\"x; sessionid={KEY}\"");
    let cookies = read(&[&hidden]);
    assert!(!matches!(cookies.presented(), Presented::Key(_)));
    assert!(!line(&cookies).contains(KEY));
}

#[test]
fn other_names_are_not_the_session_cookie() {
    for name in ["Sessionid", "sessionid2", "xsessionid", "session-id"] {
        let cookies = format!("{name}={KEY}");
        let cookies = read(&[&cookies]);
        assert_eq!((cookies.presented(), cookies.carried()), (Presented::Nothing, false));
    }
}

#[test]
fn what_cannot_be_a_key_is_malformed_or_signed() {
    for (value, presented) in [
        ("", Presented::Malformed),
        ("abc", Presented::Malformed),
        ("e30:1abc:sig-nature_", Presented::Signed),
        (".eJx:1abc:sig", Presented::Signed),
        ("a:b", Presented::Malformed),
        ("a:b:c:d", Presented::Malformed),
        ("::", Presented::Malformed),
    ] {
        let cookies = format!("sessionid={value}");
        assert_eq!(read(&[&cookies]).presented(), presented, "{value}");
    }
    assert_eq!(read(&["sessionid=\"gAJ9cQEu:1abc:sig\""]).presented(), Presented::Signed);
}

#[test]
fn the_session_cookie_is_replaced_wherever_it_stands() {
    let spare = SessionKey::parse(OTHER.as_bytes(), KeyShape::Alnum32).expect("a key");
    for (came, without, with) in [
        ("", "", "sessionid=S"),
        ("a=1", "a=1", "a=1; sessionid=S"),
        ("sessionid=K", "", "sessionid=S"),
        ("sessionid=K; a=1", "a=1", "a=1; sessionid=S"),
        ("a=1; sessionid=K; b=2", "a=1; b=2", "a=1; b=2; sessionid=S"),
        ("a=1; sessionid=K", "a=1", "a=1; sessionid=S"),
    ] {
        let came = came.replace('K', KEY);
        let cookies = if came.is_empty() { read(&[]) } else { read(&[&came]) };
        assert_eq!(cookies.without_session(), without.as_bytes());
        let with = with.replace('S', OTHER);
        assert_eq!(cookies.with_session("sessionid", &spare), with.as_bytes());
    }
}

proptest::proptest! {
    /// Cleaning what is clean changes nothing, whatever the bytes were.
    #[test]
    fn a_cleaned_line_is_clean(bytes in proptest::collection::vec(
        proptest::prop_oneof![
            proptest::prelude::any::<u8>(),
            proptest::sample::select(&b"; =\"\\sessionid"[..]),
        ], 0..200)) {
        let once = Cookies::read(std::iter::once(&bytes[..]), "s", KeyShape::Alnum32);
        let again = Cookies::read(std::iter::once(once.line()), "s", KeyShape::Alnum32);
        proptest::prop_assert!(once.line().is_empty() || again.as_came());
        proptest::prop_assert_eq!(again.presented(), once.presented());
        proptest::prop_assert!(!once.without_session().split(|b| *b == b';')
            .any(|piece| names(piece, "s")));
    }
}

/// What Python 3's `http.cookies` takes (`_LegalKeyChars` and `_LegalValueChars`), byte by byte.
#[test]
fn names_and_values_have_the_bytes_that_python_takes() {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    for byte in 0..=u8::MAX {
        let value = word(byte) || b"!#%&'~`><@,:/$*+-.^|)(?}{=[]".contains(&byte);
        // The colon is in names of cookies there, but in no token (RFC 9110, section 5.6.2).
        let name = word(byte) || b"!#%&'~`*+-.^|".contains(&byte) || byte == b'$';
        assert_eq!(is_value(&[b'a', byte]), value, "{}", byte.escape_ascii());
        assert_eq!(all_of(Kinds::TOKEN, &[b'a', byte]), name, "{}", byte.escape_ascii());
    }
}
