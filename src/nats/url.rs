//! `nats:` and `tls:` URLs.

use async_nats::ServerAddr;

use crate::error::{Error, ErrorKind, Result};
use crate::nats::builder::{Credentials, Options};
use crate::nats::jetstream::{EventStream, EventStreamParts};
use crate::subject::Subject;
use crate::url::{BusUrl, ESCAPE, decode};

/// The options of `nats://user:password@one:4222,two:4222?name=x&prefix=app`. The scheme may be left out, and stand before each
/// server.
pub(crate) fn options(text: &str) -> Result<Options> {
    let url = BusUrl::parse(&if has_scheme(text) { text.to_owned() } else { format!("nats://{text}") })?;
    read(url).map_err(|error| match text.split_once('?') {
        // What was taken for an option, or for a server before it, may be a piece of a password.
        Some((_, query)) if query.contains('@') => {
            let message = format!("the URL has an @ behind its ?, and what it says cannot be read; {ESCAPE}");
            Error::new(error.kind(), message)
        }
        _ => error,
    })
}

fn read(mut url: BusUrl) -> Result<Options> {
    let mut options = from(&mut url)?;
    take_options(&mut url, &mut options)?;
    url.finish()?;
    Ok(options)
}

/// `host:4222` has none, though it has a colon; nor has `nats:4222`, whose host has the name that it often has among containers.
fn has_scheme(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once(':') else { return false };
    let port = rest.split(['/', '?', ',']).next().unwrap_or_default();
    let is_port = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    is_ours(scheme) && !is_port
}

fn is_ours(scheme: &str) -> bool {
    scheme.eq_ignore_ascii_case("nats") || scheme.eq_ignore_ascii_case("tls")
}

/// The servers, and who this program is by them.
fn from(url: &mut BusUrl) -> Result<Options> {
    let mut servers = Vec::new();
    let mut credentials: Option<String> = None;
    for part in url.place().split(',') {
        let (scheme, rest) = part.split_once("://").unwrap_or((url.scheme(), part));
        let scheme = if scheme.is_empty() { url.scheme() } else { &scheme.to_ascii_lowercase() };
        let rest = rest.trim_start_matches('/').trim_end_matches('/');
        let (user_info, host) = rest.rsplit_once('@').map_or((None, rest), |(user, host)| (Some(user), host));
        let server = format!("{scheme}://{host}").parse::<ServerAddr>();
        let readable = !host.is_empty() && is_ours(scheme);
        match server {
            Ok(server) if readable && !server.host().is_empty() => servers.push(server),
            _ => {
                return Err(Error::new(ErrorKind::InvalidOption, no_address(url, host)));
            }
        }
        if let Some(user_info) = user_info {
            if credentials.as_deref().is_some_and(|other| other != user_info) {
                let message = "the URL has different users for different servers: a bus has one";
                return Err(Error::new(ErrorKind::InvalidOption, message));
            }
            credentials = Some(user_info.to_owned());
        }
    }
    let mut options = Options::new(servers);
    if let Some(user_info) = credentials {
        options.credentials = match user_info.split_once(':') {
            Some((user, password)) => Credentials::User { user: decode(user)?, password: decode(password)? },
            None => Credentials::Token(decode(&user_info)?),
        };
    }
    Ok(options)
}

/// Beside an `@`, what was taken for a host may be a piece of a password.
fn no_address(url: &BusUrl, host: &str) -> String {
    if url.place().contains('@') {
        return format!("an address in the URL is none: it is to be HOST or HOST:PORT; {ESCAPE}");
    }
    format!("{host:?} is no server's address: it is to be HOST or HOST:PORT")
}

fn take_options(url: &mut BusUrl, options: &mut Options) -> Result<()> {
    options.name = url.take("name");
    options.prefix = url.take("prefix").map(Subject::try_from).transpose()?;
    if let Some(path) = url.take("creds") {
        options.credentials = Credentials::File(path.into());
    }
    if let Some(path) = url.take("nkey") {
        options.credentials = Credentials::NkeyFile(path.into());
    }
    options.tls.roots = url.take("tls_roots").map(Into::into);
    options.tls.certificate = url.take("tls_certificate").map(Into::into);
    options.tls.key = url.take("tls_key").map(Into::into);
    options.tls.required = url.take_parsed("tls")?.unwrap_or(false);
    options.inbox_prefix = url.take("inbox_prefix").map(Subject::try_from).transpose()?;
    if let Some(bytes) = url.take_parsed("max_payload")? {
        options.max_payload = bytes;
    }
    if let Some(wait) = url.take_duration("wait")? {
        options.wait = wait;
    }
    options.retry_first = url.take_parsed("retry_first_connect")?.unwrap_or(false);
    options.stream = take_stream(url)?;
    options.max_reconnects = url.take_parsed::<std::num::NonZeroUsize>("max_reconnects")?.map(Into::into);
    Ok(())
}

/// The stream of events: `stream=ORDERS&stream_subjects=orders.>,users.>&stream_under=events`, or one that is used as it is.
fn take_stream(url: &mut BusUrl) -> Result<Option<EventStreamParts>> {
    let (name, subjects) = (url.take("stream"), url.take("stream_subjects"));
    let (under, existing) = (url.take("stream_under"), url.take_parsed::<bool>("stream_existing")?);
    let Some(name) = name else {
        if subjects.is_some() || under.is_some() || existing.is_some() {
            let message = "the URL says what a stream is like, and not which: it has no stream=NAME";
            return Err(Error::new(ErrorKind::InvalidOption, message));
        }
        return Ok(None);
    };
    let mut stream =
        if existing == Some(true) { EventStream::existing(name) } else { EventStream::named(name) };
    for filter in subjects.iter().flat_map(|subjects| subjects.split(',')) {
        stream = stream.subject(filter);
    }
    if let Some(under) = under {
        stream = stream.under(&under);
    }
    stream.into_parts().map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_users_and_options_are_read() {
        let options =
            options("nats://ann:s%40x@one:4223,two,tls://three?name=n&prefix=app.x&wait=2s").unwrap();
        let servers: Vec<_> = options.servers.iter().map(|server| (server.host(), server.port())).collect();
        assert_eq!(servers, [("one", 4223), ("two", 4222), ("three", 4222)]);
        assert!(options.servers[2].tls_required());
        assert!(
            matches!(options.credentials, Credentials::User { user, password } if user == "ann" && password == "s@x")
        );
        assert_eq!((options.name.as_deref(), options.prefix.as_deref()), (Some("n"), Some("app.x")));
        assert_eq!(options.wait.as_secs(), 2);
    }

    #[test]
    fn a_lone_user_is_a_token_and_the_scheme_may_be_missing() {
        assert!(matches!(options("nats://t0k@h").unwrap().credentials, Credentials::Token(t) if t == "t0k"));
        let short = options("localhost:4333").unwrap();
        assert_eq!((short.servers[0].host(), short.servers[0].port()), ("localhost", 4333));
        assert_eq!(options("[::1]:4333").unwrap().servers[0].host(), "::1");
    }

    #[test]
    fn a_scheme_is_read_without_case_and_is_told_from_a_host_of_its_name() {
        for url in ["NATS://one:4333", "nats:one:4333", "Nats://one:4333,TLS://two"] {
            let read = options(url).unwrap();
            assert_eq!((read.servers[0].host(), read.servers[0].port()), ("one", 4333), "{url}");
            assert!(read.servers.iter().skip(1).all(ServerAddr::tls_required), "{url}");
        }
        assert!(options("TLS://one").unwrap().servers[0].tls_required());
        for (text, host, port) in
            [("nats:4222", "nats", 4222), ("nats:4333,two", "nats", 4333), ("tls:4222?wait=1s", "tls", 4222)]
        {
            let read = options(text).unwrap();
            assert_eq!((read.servers[0].host(), read.servers[0].port()), (host, port), "{text}");
            assert!(!read.servers[0].tls_required(), "{text}");
        }
    }

    #[test]
    fn no_piece_of_a_password_that_was_not_escaped_is_in_an_error() {
        let urls = [
            "nats://ann:s3cret,x@h",
            "nats://ann:s3cret,:s3cret@h",
            "nats://ann:s3?cret@h",
            "nats://ann:s3?cret=cret@h",
            "nats://ann:s3?wait=cret@h",
            "nats://ann:s3?tls=cret@h",
            "nats://ann:s3?prefix=cret..@h",
            "nats://ann:s3?stream=cret.@h",
            "nats://ann:s3?max_reconnects=cret@h",
            "ann:s3cret,x@h",
            "nats://h,ann:s3/cret@",
        ];
        for url in urls {
            let error = options(url).map(drop).unwrap_err();
            let said = format!("{error} {error:?}");
            assert!(!said.contains("cret"), "{url}: {said}");
            assert!(said.contains("escape"), "{url}: {said}");
        }
        let plain = options("nats://h?wait=soon").map(drop).unwrap_err().to_string();
        assert!(plain.contains("wait=soon"), "{plain}");
    }

    #[test]
    fn a_stream_is_named_with_what_it_is_like() {
        let read = options("nats://h?stream=S&stream_subjects=a.>,b&stream_under=ev").unwrap();
        let wanted = EventStream::named("S").subject("a.>").subject("b").under("ev").into_parts().unwrap();
        assert_eq!(format!("{:?}", read.stream.unwrap()), format!("{wanted:?}"));
        for wrong in
            ["nats://h?stream_under=ev", "nats://h?stream=a.b", "nats://h?stream=S&stream_existing=x"]
        {
            assert_eq!(options(wrong).map(drop).unwrap_err().kind(), ErrorKind::InvalidOption, "{wrong}");
        }
    }

    #[test]
    fn mistakes_are_errors_that_say_what_is_understood() {
        for wrong in ["nats://", "nats://a:1@h,b:2@i", "nats://h:99999", "nats://h?tls=maybe", "nats://h,"] {
            assert_eq!(options(wrong).map(drop).unwrap_err().kind(), ErrorKind::InvalidOption, "{wrong}");
        }
        let unknown = options("nats://h?colour=red").map(drop).unwrap_err().to_string();
        assert!(unknown.contains("colour") && unknown.contains("prefix, creds, nkey"), "{unknown}");
        assert_eq!(options("nats://h?prefix=a..b").map(drop).unwrap_err().kind(), ErrorKind::InvalidSubject);
    }
}
