//! The files that the page is made of: in the binary, named by their content, compressed once.

use std::io::Write;
use std::sync::OnceLock;

use base16ct::lower::encode_string;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderMap,
    IF_NONE_MATCH, REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;
use sha2::{Digest, Sha256};

use crate::admin::metrics::negotiation::takes_gzip;

/// A file of the tree.
struct File {
    name: &'static str,
    kind: &'static str,
    content: &'static [u8],
}

macro_rules! file {
    ($name:literal, $path:literal, $kind:literal) => {
        File { name: $name, kind: $kind, content: include_bytes!($path) }
    };
}

const INDEX: &str = include_str!("index.html");

/// What stands in [`INDEX`] for the folder of the files.
const FOLDER_MARK: &str = "{assets}";

const FILES: [File; 12] = [
    file!("style.css", "style.css", "text/css; charset=utf-8"),
    file!("theme.js", "theme.js", "text/javascript; charset=utf-8"),
    file!("page.js", "page.js", "text/javascript; charset=utf-8"),
    file!("stream.js", "stream.js", "text/javascript; charset=utf-8"),
    file!("judge.js", "judge.js", "text/javascript; charset=utf-8"),
    file!("plots.js", "plots.js", "text/javascript; charset=utf-8"),
    file!("tables.js", "tables.js", "text/javascript; charset=utf-8"),
    file!("words.js", "words.js", "text/javascript; charset=utf-8"),
    file!("icon.svg", "icon.svg", "image/svg+xml"),
    file!("uplot.js", "vendor/uPlot.iife.min.js", "text/javascript; charset=utf-8"),
    file!("uplot.LICENSE", "vendor/LICENSE.uPlot", "text/plain; charset=utf-8"),
    file!("uplot.css", "vendor/uPlot.min.css", "text/css; charset=utf-8"),
];

/// A file as it is sent.
struct Asset {
    kind: &'static str,
    etag: HeaderValue,
    plain: Bytes,
    packed: Bytes,
}

struct Assets {
    /// A digest of all of them.
    version: String,
    index: Asset,
    files: Vec<(&'static str, Asset)>,
}

/// Made when the first is asked for; some milliseconds.
fn assets() -> &'static Assets {
    static ASSETS: OnceLock<Assets> = OnceLock::new();
    ASSETS.get_or_init(|| {
        let mut all = Sha256::new_with_prefix(INDEX);
        for file in &FILES {
            all.update(file.content);
        }
        let version = short(&all.finalize());
        let index = INDEX.replace(FOLDER_MARK, &format!("assets/{version}"));
        let files =
            FILES.map(|file| (file.name, asset(file.kind, Bytes::from_static(file.content))));
        Assets {
            index: asset("text/html; charset=utf-8", index.into()),
            files: files.into(),
            version,
        }
    })
}

fn asset(kind: &'static str, plain: Bytes) -> Asset {
    let digest = short(&Sha256::digest(&plain));
    let etag = HeaderValue::try_from(format!("W/\"{digest}\"")).expect("it is visible ASCII");
    let mut packed = GzEncoder::new(Vec::new(), Compression::best());
    let packed = packed.write_all(&plain).and_then(|()| packed.finish());
    let packed = packed.expect("memory takes everything");
    Asset { kind, etag, plain, packed: packed.into() }
}

fn short(digest: &[u8]) -> String {
    encode_string(&digest[..8])
}

/// Of what the page is: another one, where a single byte of it is.
pub(super) fn version() -> &'static str {
    &assets().version
}

/// A file, or the page itself; `None` where there is none.
pub(super) fn answer(path: &str, headers: &HeaderMap) -> Option<Response<Full<Bytes>>> {
    let assets = assets();
    if path == "/" {
        return Some(sent(&assets.index, headers, HeaderValue::from_static("no-cache")));
    }
    let (version, name) = path.strip_prefix("/assets/")?.split_once('/')?;
    let (_, asset) = assets.files.iter().find(|(file, _)| *file == name)?;
    (version == assets.version).then(|| {
        let forever = HeaderValue::from_static("private, max-age=31536000, immutable");
        sent(asset, headers, forever)
    })
}

fn sent(asset: &Asset, headers: &HeaderMap, caching: HeaderValue) -> Response<Full<Bytes>> {
    let packed = takes_gzip(headers);
    let known = headers.get(IF_NONE_MATCH).is_some_and(|known| is_among(known, &asset.etag));
    let content = match packed {
        true => asset.packed.clone(),
        false => asset.plain.clone(),
    };
    let mut reply = Response::new(Full::new(if known { Bytes::new() } else { content }));
    let headers = reply.headers_mut();
    secure(headers, caching);
    headers.insert(ETAG, asset.etag.clone());
    headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
    if known {
        *reply.status_mut() = StatusCode::NOT_MODIFIED;
        return reply;
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(asset.kind));
    if packed {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    reply
}

/// Nothing but the page's own files runs, is shown or is asked for, and nobody frames it.
pub(super) fn secure(headers: &mut HeaderMap, caching: HeaderValue) {
    const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
                          connect-src 'self'; img-src 'self'; base-uri 'none'; \
                          form-action 'none'; frame-ancestors 'none'; \
                          require-trusted-types-for 'script'; trusted-types 'none'";
    headers.insert(CACHE_CONTROL, caching);
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    for name in ["cross-origin-opener-policy", "cross-origin-resource-policy"] {
        headers.insert(name, HeaderValue::from_static("same-origin"));
    }
}

/// Whether an entity tag is in a list of them (RFC 9110, 13.1.2), compared weakly.
fn is_among(list: &HeaderValue, etag: &HeaderValue) -> bool {
    let (Ok(list), Ok(etag)) = (list.to_str(), etag.to_str()) else { return false };
    let bare = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    list.split(',').any(|tag| tag.trim() == "*" || bare(tag) == bare(etag))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(http::HeaderName, &'static str)]) -> HeaderMap {
        lines.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    /// As `npm pack uplot@1.6.32` has them, whose integrity is vendor/ORIGIN's.
    #[test]
    fn the_library_is_what_its_authors_published() {
        for (file, digest) in [
            ("uplot.js", "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f"),
            ("uplot.css", "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04"),
        ] {
            let found = FILES.iter().find(|one| one.name == file).expect("it is there");
            assert_eq!(encode_string(&Sha256::digest(found.content)), digest, "{file}");
        }
    }

    /// What the binary grows by; the packed files take as much memory again, once they are asked for.
    #[test]
    fn all_files_together_stay_small() {
        let plain = INDEX.len() + FILES.iter().map(|file| file.content.len()).sum::<usize>();
        let packed = assets().files.iter().map(|(_, asset)| asset.packed.len()).sum::<usize>();
        println!("{plain} bytes, packed {packed}");
        assert!(plain < 128 << 10 && packed < 48 << 10, "{plain} bytes, packed {packed}");
    }

    #[test]
    fn the_page_asks_for_files_that_are_there_and_for_nothing_else() {
        let page = answer("/", &HeaderMap::new()).expect("the page");
        assert_eq!(page.status(), StatusCode::OK);
        let index = String::from_utf8(assets().index.plain.to_vec()).expect("UTF-8");
        assert!(!index.contains(FOLDER_MARK));
        let targets = index.split(['"']).filter(|part| part.starts_with("assets/"));
        let files: Vec<&str> = targets.filter(|target| target.contains('.')).collect();
        assert!(files.len() > 4, "{files:?}");
        for file in files {
            assert!(answer(&format!("/{file}"), &HeaderMap::new()).is_some(), "{file}");
        }
        let scripts = FILES.iter().filter(|file| file.name.ends_with(".js"));
        for script in scripts {
            let text = std::str::from_utf8(script.content).expect("UTF-8");
            for import in text.split("from \"./").skip(1) {
                let name = import.split('"').next().expect("a name");
                assert!(FILES.iter().any(|file| file.name == name), "{}: {name}", script.name);
            }
        }
        for nothing in ["/assets/", "/assets/0/page.js", "/assets/page.js", "//", "/index.html"] {
            assert!(answer(nothing, &HeaderMap::new()).is_none(), "{nothing}");
        }
    }

    #[test]
    fn what_is_known_already_is_not_sent_again() {
        let path = format!("/assets/{}/page.js", version());
        let first = answer(&path, &HeaderMap::new()).expect("a file");
        let etag = first.headers()[ETAG].to_str().expect("ASCII").to_owned();
        for known in [etag.clone(), format!("\"x\", {etag}"), "*".to_owned()] {
            let mut headers = HeaderMap::new();
            headers.insert(IF_NONE_MATCH, HeaderValue::try_from(known).expect("a value"));
            let again = answer(&path, &headers).expect("a file");
            assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
            assert_eq!(again.headers()[ETAG], first.headers()[ETAG]);
        }
        let other = answer(&path, &headers(&[(IF_NONE_MATCH, "\"x\"")])).expect("a file");
        assert_eq!(other.status(), StatusCode::OK);
    }
}
