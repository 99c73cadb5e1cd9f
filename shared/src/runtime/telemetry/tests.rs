#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]
//! Trace context, sampling and settings, without a collector.

use http::{HeaderMap, HeaderValue};

use super::context::{SpanContext, TRACEPARENT, TRACESTATE, incoming, new_trace, state};
use super::settings::{Protocol, Sampler, TraceSettings};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

fn headers(parents: &[&str], states: &[&str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for value in parents {
        headers.append(TRACEPARENT, HeaderValue::from_str(value).unwrap());
    }
    for value in states {
        headers.append(TRACESTATE, HeaderValue::from_str(value).unwrap());
    }
    headers
}

#[test]
fn a_callers_span_is_believed_only_when_it_is_one() {
    let good = format!("00-{TRACE}-b7ad6b7169203331-01");
    let remote = incoming(&headers(&[&good], &[])).unwrap();
    assert!(remote.sampled && remote.span == [0xb7, 0xad, 0x6b, 0x71, 0x69, 0x20, 0x33, 0x31]);
    assert!(!incoming(&headers(&[&good.replace("-01", "-00")], &[])).unwrap().sampled);
    assert!(incoming(&headers(&[&format!("cc-{TRACE}-b7ad6b7169203331-01-what-will-be")], &[])).is_some());
    for bad in [
        "",
        "00",
        &good.to_ascii_uppercase(),
        &format!("{good}-more"),
        &format!("ff-{TRACE}-b7ad6b7169203331-01"),
        &format!("00-{TRACE}-0000000000000000-01"),
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        &format!("00-{TRACE}-b7ad6b7169203331-1"),
        &format!("00-{TRACE}-b7ad6b716920333g-01"),
        &format!(" 00-{TRACE}-b7ad6b7169203331-01 x"),
    ] {
        assert_eq!(incoming(&headers(&[bad], &[])), None, "{bad}");
    }
    assert_eq!(incoming(&headers(&[&good, &good], &[])), None);
}

#[test]
fn states_are_passed_on_only_when_they_are_some() {
    assert_eq!(
        state(&headers(&[], &["congo=t61rcWkgMzE,rojo=00f067aa0ba902b7"])).unwrap(),
        "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7"
    );
    assert_eq!(state(&headers(&[], &["a=1", "b=2"])).unwrap(), "a=1,b=2");
    let long = format!("a={}", "x".repeat(600));
    let many = (0..40).map(|n| format!("k{n}=v")).collect::<Vec<_>>().join(",");
    for bad in ["", "a", "A=1", "a=", "a=b=c", "a=\u{e9}", &long, &many] {
        assert_eq!(state(&headers(&[], &[bad])), None, "{bad}");
    }
}

#[test]
fn a_child_is_told_to_whoever_is_called() {
    let root = SpanContext { trace: [1; 16], span: [2; 8], parent: None, sampled: true };
    let child = root.child();
    assert_eq!((child.parent, child.trace, child.sampled), (Some([2; 8]), [1; 16], true));
    let told = headers(&[child.traceparent().unwrap().to_str().unwrap()], &[]);
    let heard = incoming(&told).unwrap();
    assert_eq!((heard.trace, heard.span, heard.sampled), (child.trace, child.span, true));
}

fn read(variables: &[(&str, &str)]) -> Result<Option<TraceSettings>, String> {
    let variable =
        |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
    TraceSettings::read("gatewright-test", &variable).map_err(|error| error.to_string())
}

#[test]
fn the_environment_decides() {
    assert!(read(&[]).unwrap().is_none());
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4317");
    assert!(read(&[endpoint, ("OTEL_SDK_DISABLED", "TRUE")]).unwrap().is_none());
    assert!(read(&[endpoint, ("OTEL_TRACES_EXPORTER", "none")]).unwrap().is_none());
    let settings = read(&[
        endpoint,
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20canary, x-tenant=a"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "250"),
        ("OTEL_SERVICE_NAME", "mine"),
        ("OTEL_RESOURCE_ATTRIBUTES", "service.name=other,deployment.environment=prod"),
    ])
    .unwrap()
    .unwrap();
    assert_eq!(settings.headers.get("authorization").unwrap(), "Bearer canary");
    assert_eq!(settings.timeout.as_millis(), 250);
    let fact = |key: &str| {
        settings.resource.iter().filter(|(known, _)| known == key).map(|(_, value)| value.as_str()).collect::<Vec<_>>()
    };
    assert_eq!((fact("service.name"), fact("deployment.environment")), (vec!["mine"], vec!["prod"]));
    assert_eq!(
        read(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317")]).unwrap().unwrap().endpoint.port_u16(),
        Some(4317)
    );
    for (name, value) in [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "ftp://x"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "canary"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"),
        ("OTEL_TRACES_SAMPLER", "sometimes"),
    ] {
        let error = read(&[(name, value), endpoint]).err().unwrap_or_default();
        assert!(error.contains(name) && !error.contains("canary"), "{name}={value}: {error}");
    }
    let share = read(&[endpoint, ("OTEL_TRACES_SAMPLER", "traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", "2")]);
    assert!(share.err().unwrap().contains("OTEL_TRACES_SAMPLER_ARG"));
}

#[test]
fn both_protocols_find_their_way() {
    let all = "OTEL_EXPORTER_OTLP_ENDPOINT";
    let (traces, protocol) = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_PROTOCOL");
    for (variables, expected, way) in [
        (&[(all, "http://c:4317")][..], "http://c:4317/", Protocol::Grpc),
        (&[(all, "http://c:4318")], "http://c:4318/v1/traces", Protocol::HttpProtobuf),
        (&[(all, "http://c:4318"), (protocol, "grpc")], "http://c:4318/", Protocol::Grpc),
        (&[(all, "https://c/otlp/"), (protocol, "http/protobuf")], "https://c/otlp/v1/traces", Protocol::HttpProtobuf),
        (&[(traces, "http://c:4318/mine"), (all, "http://d")], "http://c:4318/mine", Protocol::HttpProtobuf),
    ] {
        let settings = read(variables).unwrap().unwrap();
        assert_eq!((settings.endpoint.to_string().as_str(), settings.protocol), (expected, way));
    }
}

#[test]
fn samplers_keep_what_they_say() {
    let sampler = |name: &str, share: &str| {
        let variables = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c"),
            ("OTEL_TRACES_SAMPLER", name),
            ("OTEL_TRACES_SAMPLER_ARG", share),
        ];
        read(&variables).unwrap().unwrap().sampler
    };
    let kept = |sampler: Sampler| {
        let ids = (0..10_000).map(|_| new_trace());
        ids.filter(|id| sampler.samples(*id, None)).count()
    };
    assert_eq!((kept(sampler("always_on", "")), kept(sampler("always_off", ""))), (10_000, 0));
    let third = kept(sampler("traceidratio", "0.3"));
    assert!((2_600..3_400).contains(&third), "{third}");
    let (always, follows) = (sampler("always_off", ""), sampler("parentbased_always_off", ""));
    assert!(follows.samples([9; 16], Some(true)) && !always.samples([9; 16], Some(true)));
    assert!(!Sampler::DEFAULT.samples([9; 16], Some(false)) && Sampler::DEFAULT.samples([9; 16], None));
}

/// A queue that nobody empties: the call goes on, and what did not fit is gone.
#[test]
fn a_full_queue_is_no_obstacle() {
    let (queue, waiting) = tokio::sync::mpsc::channel(2);
    let traces = super::Traces { sampler: Sampler::DEFAULT, queue };
    let begun = std::time::Instant::now();
    for _ in 0..10_000 {
        traces.hand_over(vec![super::span::Span::default()]);
    }
    assert!(begun.elapsed().as_secs() < 2, "{:?}", begun.elapsed());
    assert_eq!(waiting.len(), 2);
}

/// Without an endpoint a request pays one load for its spans.
#[test]
fn no_traces_cost_nothing() {
    let begun = std::time::Instant::now();
    let made = (0..1_000_000).filter(|_| std::hint::black_box(super::traces()).is_some()).count();
    let each = begun.elapsed() / 1_000_000;
    assert_eq!(made, 0);
    assert!(each.as_nanos() < 200, "{each:?} for each request, in a debug build");
}
