//! Forms with recordings: of any size, sent on while they come, and wrong in any place.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use harness::gateway::{Gateway, MODES, Mode};
use harness::stage::{PROVIDER_KEY, Stage};
use harness::upstream::Answer;
use harness::{eventually, raw, run};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::kinds::stage;

/// Whether bytes hold others.
pub(crate) fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// A form with a small recording.
pub(crate) fn form(stage: &Stage<'_>, format: &str, recording: &str) -> harness::client::Call {
    let part =
        |name: &str, text: &str| format!("--b0\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{text}\r\n");
    let file = format!(
        "--b0\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\nContent-Type: audio/wav\r\n\r\n{recording}\r\n"
    );
    let body = [file, part("model", &stage.router), part("response_format", format), "--b0--\r\n".to_owned()].concat();
    let call = stage.client().call("POST", "/v1/audio/transcriptions");
    call.header("content-type", "multipart/form-data; boundary=b0").bytes(body)
}

#[test]
fn recordings_larger_than_memory_arrive_whole() {
    run(async {
        for mode in MODES {
            let stage = stage(Gateway::shared(mode).await, "automatic-speech-recognition", "albert").await;
            // A second provider behind the first: what was sent in vain is sent again.
            let body = json!({"router_id": stage.router_id, "type": "openai", "url": stage.upstream.url(), "key": PROVIDER_KEY,
                "model_name": "third-model", "timeout": 30});
            stage.admin().create("providers", &body).await;
            let recording: String = (0..400_000).map(|n| format!("{n:08x}")).collect();
            eventually("both providers were asked", Duration::from_secs(10), || async {
                let before = stage.upstream.calls();
                stage.upstream.decides(move |_| Answer::error(500, "never"));
                form(&stage, "json", "RIFF").send().await;
                (stage.upstream.calls() - before == 2).then_some(())
            })
            .await;
            let before = stage.upstream.calls();
            let count = AtomicUsize::new(0);
            stage.upstream.decides(move |_| match count.fetch_add(1, Ordering::SeqCst) {
                0 => Answer::error(500, "once"),
                _ => Answer::json(200, &json!({"text": "all of it"})),
            });
            let answer = form(&stage, "json", &recording).send().await;
            assert_eq!(answer.expect(200).json(), json!({"text": "all of it"}));
            let seen = stage.upstream.seen().split_off(before);
            assert_eq!(seen.len(), 2);
            let models: Vec<bool> = seen.iter().map(|seen| contains(&seen.body, b"\r\n\r\nsecond-model\r\n")).collect();
            assert!(
                models.contains(&true) && models.contains(&false),
                "each provider has a name of its own for the model"
            );
            for seen in seen {
                assert!(contains(&seen.body, recording.as_bytes()), "the recording is whole");
                assert!(!contains(&seen.body, stage.router.as_bytes()));
                let length = seen.headers["content-length"].to_str().unwrap();
                assert_eq!(length, seen.body.len().to_string());
            }
        }
    });
}

#[test]
fn speech_as_plain_text() {
    run(async {
        let stage = Stage::set(Gateway::shared(Mode::Split).await, "automatic-speech-recognition").await;
        stage.upstream.says(Answer::bytes(200, "text/plain; charset=utf-8", "Good day to you!\n"));
        let reply = form(&stage, "text", "RIFF").send().await;
        assert_eq!(reply.expect(200).text(), "Good day to you!\n");
        assert_eq!(reply.header("content-type"), "text/plain; charset=utf-8");
        let usage = stage.only_usage().await;
        assert!(usage.tokens().1.is_some_and(|tokens| (3..10).contains(&tokens)), "{usage:?}");
        assert_eq!(usage.0["estimated"], true);

        stage.upstream.says(Answer::bytes(200, "text/html", "<html>"));
        form(&stage, "text", "RIFF").send().await.expect(502);
    });
}

/// A provider that reads a request as slowly as its test wants.
struct Slow(TcpListener);

impl Slow {
    /// Takes the place of the stage's provider.
    async fn instead_of(stage: &Stage<'_>) -> Self {
        let slow = Self(TcpListener::bind("127.0.0.1:0").await.unwrap());
        let url = format!("http://{}", slow.0.local_addr().unwrap());
        let change = json!({"url": url, "key": PROVIDER_KEY});
        stage.admin().change(&format!("providers/{}", stage.provider_id), &change).await;
        eventually("the provider is called", Duration::from_secs(10), || async {
            let call = tokio::spawn(form(stage, "json", "RIFF").send());
            let taken = timeout(Duration::from_millis(300), slow.0.accept()).await;
            let Ok(Ok((mut stream, _))) = taken else {
                call.abort();
                return None;
            };
            until(&mut stream, b"--b0--").await;
            answer(&mut stream).await;
            call.await.unwrap().expect(200);
            Some(())
        })
        .await;
        slow
    }
}

/// Reads until these bytes have come; what came, and whether they did.
async fn until(stream: &mut TcpStream, wanted: &[u8]) -> (Vec<u8>, bool) {
    let (mut all, mut buffer) = (Vec::new(), vec![0; 65_536]);
    while !contains(&all, wanted) {
        match timeout(Duration::from_secs(10), stream.read(&mut buffer)).await {
            Ok(Ok(read)) if read > 0 => all.extend_from_slice(&buffer[..read]),
            _ => return (all, false),
        }
    }
    (all, true)
}

async fn answer(stream: &mut TcpStream) {
    let answer = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 15\r\nconnection: close\r\n\r\n{\"text\":\"good\"}";
    stream.write_all(answer.as_bytes()).await.unwrap();
}

/// A client that has sent the fields of a form and the beginning of its recording; how the form is to go on.
async fn begun(stage: &Stage<'_>, end: &str) -> TcpStream {
    let fields = format!(
        "--b0\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\n{}\r\n--b0\r\n\
         Content-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\r\n",
        stage.router
    );
    let begin = format!("{fields}{}", "first ".repeat(200_000));
    let head = format!(
        "POST /v1/audio/transcriptions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\
         Content-Type: multipart/form-data; boundary=b0\r\nContent-Length: {}\r\n\r\n",
        stage.key,
        begin.len() + end.len()
    );
    let mut client = raw::connect(stage.gateway.inference_url()).await;
    client.write_all(format!("{head}{begin}").as_bytes()).await.unwrap();
    client
}

#[test]
fn a_recording_is_sent_on_while_it_comes() {
    run(async {
        for mode in MODES {
            let stage = Stage::set(Gateway::shared(mode).await, "automatic-speech-recognition").await;
            let slow = Slow::instead_of(&stage).await;
            let end = "the last\r\n--b0--\r\n";
            let mut client = begun(&stage, end).await;
            let (mut provider, _) = timeout(Duration::from_secs(10), slow.0.accept()).await.unwrap().unwrap();
            let whole_beginning = "first ".repeat(200_000);
            let (got, came) = until(&mut provider, whole_beginning.as_bytes()).await;
            assert!(came, "{mode:?}: the provider gets what has come before the client has sent the rest");
            assert!(contains(&got, b"upstream-model") && !contains(&got, b"the last"));
            client.write_all(end.as_bytes()).await.unwrap();
            assert!(until(&mut provider, b"--b0--").await.1, "{mode:?}");
            answer(&mut provider).await;
            let heard = raw::listen(&mut client, Duration::from_secs(2)).await;
            assert_eq!((heard.status(), heard.body()), (200, "{\"text\":\"good\"}"), "{mode:?}");
        }
    });
}

#[test]
fn a_form_that_turns_out_wrong_reaches_no_provider_whole() {
    run(async {
        let stage = Stage::set(Gateway::shared(Mode::Split).await, "automatic-speech-recognition").await;
        let slow = Slow::instead_of(&stage).await;
        let twice = "x\r\n--b0\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nother\r\n--b0--\r\n";
        let mut client = begun(&stage, twice).await;
        let (mut provider, _) = slow.0.accept().await.unwrap();
        until(&mut provider, b"first ").await;
        client.write_all(twice.as_bytes()).await.unwrap();
        let heard = raw::listen(&mut client, Duration::from_secs(2)).await;
        assert_eq!(heard.status(), 400, "{}", heard.text);
        assert!(heard.body().contains("duplicate_parameter"), "{}", heard.text);
        assert!(!until(&mut provider, b"--b0--").await.1, "the provider's request breaks off");
        let records = stage.usage(2).await;
        assert_eq!((records[0].status(), records[0].0["outcome"].as_str()), (400, Some("failed")), "{:?}", records[0]);
    });
}

#[test]
fn a_client_that_leaves_in_its_recording_takes_the_provider_along() {
    run(async {
        let stage = Stage::set(Gateway::shared(Mode::Split).await, "automatic-speech-recognition").await;
        let slow = Slow::instead_of(&stage).await;
        let client = begun(&stage, "never sent").await;
        let (mut provider, _) = slow.0.accept().await.unwrap();
        until(&mut provider, b"first ").await;
        drop(client);
        assert!(!until(&mut provider, b"--b0--").await.1, "the provider's request breaks off");
        let records = stage.usage(2).await;
        assert_eq!(
            (records[0].status(), records[0].0["outcome"].as_str()),
            (499, Some("cancelled")),
            "{:?}",
            records[0]
        );
    });
}
