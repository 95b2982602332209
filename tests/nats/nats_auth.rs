//! Each way to say who a program is, by options and by URL.

use std::fs;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nkeys::KeyPair;
use rowbus::testing::NatsServer;
use rowbus::{ErrorKind, EventStream, Messenger, MessengerExt, NatsBus, Publish, Request};
use serde_json::{Value, json};

use crate::{PATIENCE, assert_works, connect, kind, within};

/// The server without what its URL says of users.
fn bare(server: &NatsServer) -> String {
    format!("nats://{}", server.address())
}

#[tokio::test]
async fn a_user_is_let_in_by_a_password_and_not_by_another() {
    let Some(server) = NatsServer::builder().user("ann", "s3cret").start() else { return };
    assert_works(&connect(&server).await).await;
    assert_works(&NatsBus::builder(&bare(&server)).user("ann", "s3cret").connect().await.unwrap()).await;
    let wrong = NatsBus::builder(&bare(&server)).user("ann", "other").connect().await;
    assert_eq!(kind(wrong), ErrorKind::NotPermitted);
    assert_eq!(kind(NatsBus::connect(&bare(&server)).await), ErrorKind::NotPermitted);
}

#[tokio::test]
async fn what_has_a_meaning_in_urls_is_escaped_in_a_password() {
    let Some(server) = NatsServer::builder().user("a:n", "p@ss/?,").start() else { return };
    let url = format!("nats://a%3An:p%40ss%2F%3F%2C@{}", server.address());
    assert_works(&NatsBus::connect(&url).await.unwrap()).await;
}

#[tokio::test]
async fn a_token_lets_in() {
    let Some(server) = NatsServer::builder().token("t0ken").start() else { return };
    assert_works(&connect(&server).await).await;
    assert_works(&NatsBus::builder(&bare(&server)).token("t0ken").connect().await.unwrap()).await;
    let wrong = NatsBus::builder(&bare(&server)).token("other").connect().await;
    assert_eq!(kind(wrong), ErrorKind::NotPermitted);
}

#[tokio::test]
async fn an_nkey_lets_in_by_its_seed() {
    let user = KeyPair::new_user();
    let users = format!("authorization {{ users: [ {{ nkey: {} }} ] }}", user.public_key());
    let Some(server) = NatsServer::builder().config(&users).start() else { return };
    let with = |seed: String| NatsBus::builder(&server.url()).nkey(seed).connect();
    assert_works(&with(user.seed().unwrap()).await.unwrap()).await;
    assert_eq!(kind(with(KeyPair::new_user().seed().unwrap()).await), ErrorKind::NotPermitted);
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), format!("{}\n", user.seed().unwrap())).unwrap();
    let url = format!("{}?nkey={}", server.url(), file.path().display());
    assert_works(&NatsBus::connect(&url).await.unwrap()).await;
    let missing = NatsBus::builder(&server.url()).nkey_file("missing.nk").connect().await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::InvalidOption);
    assert!(missing.to_string().contains("missing.nk"), "{missing}");
    let error = with("no seed".into()).await.unwrap_err();
    assert!(!error.to_string().contains("no seed"), "{error}");
}

/// What an operator, an account or a user is, signed by who vouches for it.
fn token(of: &KeyPair, by: &KeyPair, mut what: Value) -> String {
    what["version"] = json!(2);
    let claims = json!({
        "jti": of.public_key(), "iat": 1_700_000_000, "iss": by.public_key(), "sub": of.public_key(),
        "name": "test", "nats": what,
    });
    let header = json!({ "typ": "JWT", "alg": "ed25519-nkey" });
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", encode(&header), encode(&claims));
    let signature = URL_SAFE_NO_PAD.encode(by.sign(signed.as_bytes()).unwrap());
    format!("{signed}.{signature}")
}

fn write_credentials(path: &Path, user: &KeyPair, account: &KeyPair) {
    let jwt = token(
        user,
        account,
        json!({ "type": "user", "pub": {}, "sub": {}, "subs": -1, "data": -1, "payload": -1 }),
    );
    let seed = user.seed().unwrap();
    let text = format!(
        "-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n\
         -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    );
    fs::write(path, text).unwrap();
}

#[tokio::test]
async fn a_file_of_credentials_lets_in() {
    let (operator, account) = (KeyPair::new_operator(), KeyPair::new_account());
    let limits = json!({
        "subs": -1, "conn": -1, "leaf": -1, "imports": -1, "exports": -1, "data": -1, "payload": -1, "wildcards": true,
    });
    let config = format!(
        "operator: {}\nresolver: MEMORY\nresolver_preload: {{ {}: {} }}",
        token(&operator, &operator, json!({ "type": "operator" })),
        account.public_key(),
        token(&account, &operator, json!({ "type": "account", "limits": limits })),
    );
    let Some(server) = NatsServer::builder().config(&config).start() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (good, bad) = (folder.path().join("ann.creds"), folder.path().join("of another account.creds"));
    write_credentials(&good, &KeyPair::new_user(), &account);
    write_credentials(&bad, &KeyPair::new_user(), &KeyPair::new_account());
    let with = |file: &Path| NatsBus::builder(&server.url()).credentials_file(file).connect();
    assert_works(&with(&good).await.unwrap()).await;
    let url = format!("{}?creds={}", server.url(), good.display());
    assert_works(&NatsBus::connect(&url).await.unwrap()).await;
    assert_eq!(kind(with(&bad).await), ErrorKind::NotPermitted);
    let missing = with(&folder.path().join("missing.creds")).await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::InvalidOption);
    assert!(missing.to_string().contains("missing.creds"), "{missing}");
}

const LIMITED: &str = r#"authorization { users: [ { user: ann, password: x, permissions: {
    publish: { allow: ["open.>", "_MINE.>"] }, subscribe: { allow: ["open.>", "_MINE.>"] } } } ] }"#;

#[tokio::test]
async fn what_a_user_may_not_do_is_told_and_the_rest_works() {
    let Some(server) = NatsServer::builder().config(LIMITED).start() else { return };
    let bus =
        NatsBus::builder(&bare(&server)).user("ann", "x").inbox_prefix("_MINE").connect().await.unwrap();
    let mut stream = bus.stream("open.a").await.unwrap();
    assert_eq!(kind(bus.publish("shut.a", "").await), ErrorKind::NotPermitted);
    assert_eq!(kind(bus.stream("shut.a").await), ErrorKind::NotPermitted);
    let served = bus.serve("shut.a", |_: rowbus::Call| async { Ok("") }).await;
    assert_eq!(served.map(drop).unwrap_err().kind(), ErrorKind::NotPermitted);
    bus.publish("open.a", "goes on").await.unwrap();
    assert_eq!(stream.next().await.unwrap().unwrap().text(), Some("goes on"));
    let below = NatsBus::builder(&bare(&server)).user("ann", "x").inbox_prefix("_MINE").prefix("open");
    assert_works(&below.connect().await.unwrap()).await;
}

#[tokio::test]
async fn a_request_that_the_server_refuses_is_not_permitted_and_is_not_waited_for() {
    let Some(server) = NatsServer::builder().config(LIMITED).start() else { return };
    let bus = NatsBus::builder(&bare(&server)).user("ann", "x").inbox_prefix("_MINE").connect();
    let bus = bus.await.unwrap();
    // The second is told of its own refusal.
    for _ in 0..2 {
        let asked = bus.call(Request::to("shut.a", "").timeout(2 * PATIENCE));
        let refused = within(asked).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::NotPermitted);
        assert!(refused.to_string().contains("shut.a"), "{refused}");
    }
    // The rest of the bus goes on.
    assert_eq!(kind(bus.request("open.nobody", "").await), ErrorKind::NoResponders);
}

#[tokio::test]
async fn a_bus_that_may_not_have_its_inbox_is_not_permitted() {
    const DEAF: &str = r#"authorization { users: [
        { user: deaf, password: x, permissions: { publish: ">", subscribe: "open.>" } },
        { user: mute, password: x, permissions: { publish: "open.>", subscribe: ">" } } ] }"#;
    let Some(server) = NatsServer::builder().config(DEAF).start() else { return };
    for user in ["deaf", "mute"] {
        let bus = NatsBus::builder(&bare(&server)).user(user, "x").wait(2 * PATIENCE).connect();
        let refused = within(bus).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::NotPermitted, "{user}");
        assert!(refused.to_string().contains("_INBOX."), "{refused}");
    }
}

#[tokio::test]
async fn what_a_user_may_not_publish_to_a_stream_is_not_permitted() {
    const LIMITED: &str = r#"authorization { users: [
        { user: ann, password: x, permissions: { publish: { deny: "shut.>" } } },
        { user: bob, password: x, permissions: { publish: { deny: "$JS.>" } } } ] }"#;
    let Some(server) = NatsServer::builder().jetstream(true).config(LIMITED).start() else { return };
    let of = |user: &str| {
        let stream = EventStream::named("S").subject("open.>").subject("shut.>");
        NatsBus::builder(&bare(&server)).user(user, "x").wait(2 * PATIENCE).stream(stream).connect()
    };
    let ann = within(of("ann")).await.unwrap().as_durable().unwrap();
    assert_eq!(kind(within(ann.publish("shut.a", "")).await), ErrorKind::NotPermitted);
    assert_eq!(kind(within(ann.publish_all([Publish::new("shut.a", "")])).await), ErrorKind::NotPermitted);
    assert_eq!(within(ann.publish("open.a", "")).await.unwrap().sequence, 1);
    let refused = within(of("bob")).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::NotPermitted);
    assert!(refused.to_string().contains("$JS.API.STREAM."), "{refused}");
}

#[tokio::test]
async fn secrets_are_in_no_debug_output_and_no_error() {
    let urls = ["nats://ann:s3cret@127.0.0.1:1?wait=100ms", "nats://s3cret@127.0.0.1:1?wait=100ms"];
    for url in urls {
        assert!(!format!("{:?}", NatsBus::builder(url)).contains("s3cret"));
        let error = NatsBus::connect(url).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Disconnected);
        assert!(!format!("{error} {error:?}").contains("s3cret"), "{error:?}");
    }
    let builder = NatsBus::builder("nats://127.0.0.1:1").user("ann", "s3cret").token("s3cret").nkey("s3cret");
    assert!(!format!("{builder:?}").contains("s3cret"));
}
