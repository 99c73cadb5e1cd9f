//! What is shipped beside the binaries: images, the compose file, Kubernetes' manifests. What needs an engine to run is
//! held against the binaries and against schemas instead.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use harness::admin::Admin;
use harness::balancer::{self, Balancer};
use harness::gateway::{Gateway, Mode};
use harness::postgres::Database;
use harness::process::{Launch, Ready};
use harness::stage::Stage;
use harness::{paths, run};
use shared::runtime::words::duration;
use shared::runtime::yaml::{self, Node, Variables};

/// What a process may need beyond its drain: last words of streams, and handing over usage.
const LAST_WORDS: Duration = Duration::from_secs(15);
/// The account of the images.
const ACCOUNT: i64 = 10_001;

fn deploy(path: &str) -> PathBuf {
    paths::root().join("deploy").join(path)
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn parsed(text: &str) -> Node {
    // What compose would fill in stays as it is written.
    let variables = Variables { lookup: &|name| Some(format!("<{name}>")), os_environ: false };
    yaml::load(text, &variables).unwrap_or_else(|faults| panic!("{faults:?}"))
}

/// Every Kubernetes resource, by kind and name.
fn manifests() -> BTreeMap<String, Node> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(deploy("kubernetes")).unwrap().flatten() {
        if entry.path().extension().is_none_or(|ending| ending != "yaml") {
            continue;
        }
        for document in read(&entry.path()).split("\n---\n") {
            let node = parsed(document);
            let name = node.get("metadata").map(|metadata| text(metadata, "name")).unwrap_or_default();
            found.insert(format!("{} {name}", text(&node, "kind")), node);
        }
    }
    found
}

#[track_caller]
fn at<'a>(node: &'a Node, path: &str) -> &'a Node {
    path.split('.').fold(node, |node, name| node.get(name).unwrap_or_else(|| panic!("no {name} (of {path})")))
}

fn text(node: &Node, name: &str) -> String {
    node.get(name).and_then(Node::scalar).and_then(|scalar| scalar.as_text()).unwrap_or_default().to_owned()
}

#[track_caller]
fn integer(node: &Node, path: &str) -> i64 {
    at(node, path).scalar().and_then(yaml::Scalar::as_integer).unwrap_or_else(|| panic!("{path} is no number"))
}

#[track_caller]
fn seconds(node: &Node, path: &str) -> Duration {
    Duration::from_secs(u64::try_from(integer(node, path)).expect("not below 0"))
}

fn yes(node: &Node, path: &str) -> bool {
    at(node, path).scalar().and_then(yaml::Scalar::as_bool) == Some(true)
}

fn texts(list: Option<&Node>) -> Vec<String> {
    let items = list.map(Node::items).unwrap_or_default();
    items.iter().filter_map(|item| item.scalar()?.as_text().map(str::to_owned)).collect()
}

/// The pods that manifests make, with the name of who makes them.
fn pods() -> Vec<(String, Node)> {
    let manifests = manifests().into_iter();
    let pods: Vec<_> = manifests
        .filter_map(|(name, node)| Some((name, node.get("spec")?.get("template")?.get("spec")?.clone())))
        .collect();
    assert_eq!(pods.len(), 3, "control plane, data plane, migration");
    pods
}

/// How long the flags of a command let it drain.
fn drain(arguments: &[String]) -> Option<Duration> {
    let value = |flag: &str| arguments.iter().find_map(|argument| argument.strip_prefix(flag));
    let read = |text: &str| duration(text).expect("a duration");
    Some(read(value("--min-drain=")?) + read(value("--drain-timeout=")?))
}

#[test]
fn every_pod_has_the_time_to_end_in_order() {
    let mut checked = 0;
    for (name, pod) in pods() {
        for container in at(&pod, "containers").items() {
            let Some(drain) = drain(&texts(container.get("args"))) else { continue };
            let needed = seconds(container, "lifecycle.preStop.sleep.seconds") + drain + LAST_WORDS;
            let given = seconds(&pod, "terminationGracePeriodSeconds");
            assert!(given >= needed, "{name}: {given:?} are given, {needed:?} are needed");
            checked += 1;
        }
    }
    assert_eq!(checked, 2, "control plane and data plane say how long they drain");

    let compose = parsed(&read(&deploy("compose/compose.yml")));
    let mut longest = Duration::ZERO;
    for service in at(&compose, "services").entries() {
        let Some(drain) = drain(&texts(service.node.get("command"))) else { continue };
        let given = duration(&text(&service.node, "stop_grace_period")).unwrap();
        assert!(given >= drain + LAST_WORDS, "{}: {given:?} for {drain:?}", service.name);
        longest = longest.max(drain);
        checked += 1;
    }
    assert_eq!(checked, 6, "two control planes and two data planes more");
    let balancer = duration(&text(at(&compose, "services.haproxy"), "stop_grace_period")).unwrap();
    assert!(balancer >= longest, "haproxy carries the streams of data planes");
}

#[test]
fn pods_may_do_nothing_that_they_need_not() {
    for (name, pod) in pods() {
        assert!(yes(&pod, "securityContext.runAsNonRoot"), "{name}");
        assert_eq!(integer(&pod, "securityContext.runAsUser"), ACCOUNT, "{name}");
        assert_eq!(text(at(&pod, "securityContext.seccompProfile"), "type"), "RuntimeDefault", "{name}");
        assert!(!yes(&pod, "automountServiceAccountToken") && !yes(&pod, "enableServiceLinks"), "{name}");
        for container in at(&pod, "containers").items() {
            assert!(!yes(container, "securityContext.allowPrivilegeEscalation"), "{name}");
            assert!(yes(container, "securityContext.readOnlyRootFilesystem"), "{name}");
            assert_eq!(texts(Some(at(container, "securityContext.capabilities.drop"))), ["ALL"], "{name}");
            at(container, "resources.requests.cpu");
            at(container, "resources.limits.memory");
        }
    }
    let manifests = manifests();
    for account in ["control-plane", "data-plane"] {
        let account = &manifests[&format!("ServiceAccount gatewright-{account}")];
        assert!(!yes(account, "automountServiceAccountToken"));
    }
    assert!(!manifests.keys().any(|name| name.starts_with("Secret ")), "secrets are made by command");
}

/// Selectors, ports and names that manifests use of one another.
#[test]
fn manifests_find_one_another() {
    let manifests = manifests();
    let label = "app.kubernetes.io/name";
    for (name, pod) in pods() {
        let maker = &manifests[&name];
        let labels = at(maker, "spec.template.metadata.labels");
        let account = text(&pod, "serviceAccountName");
        assert!(manifests.contains_key(&format!("ServiceAccount {account}")), "{name}: {account}");
        for spread in pod.get("topologySpreadConstraints").map(Node::items).unwrap_or_default() {
            assert_eq!(text(at(spread, "labelSelector.matchLabels"), label), text(labels, label), "{name}");
        }
        if let Some(selector) = at(maker, "spec").get("selector") {
            assert_eq!(text(at(selector, "matchLabels"), label), text(labels, label), "{name}");
            let budget = &manifests[&format!("PodDisruptionBudget {}", text(labels, label))];
            assert_eq!(text(at(budget, "spec.selector.matchLabels"), label), text(labels, label), "{name}");
        }
    }
    let scaled = at(&manifests["HorizontalPodAutoscaler gatewright-data-plane"], "spec.scaleTargetRef");
    assert!(manifests.contains_key(&format!("{} {}", text(scaled, "kind"), text(scaled, "name"))));
    let set = &manifests["StatefulSet gatewright-data-plane"];
    assert!(manifests.contains_key(&format!("Service {}", text(at(set, "spec"), "serviceName"))));
    for (name, service) in manifests.iter().filter(|(name, _)| name.starts_with("Service ")) {
        let selected = text(at(service, "spec.selector"), label);
        let (_, pod) = pods().into_iter().find(|(maker, _)| maker.ends_with(&format!(" {selected}"))).expect("a maker");
        let ports = at(&at(&pod, "containers").items()[0], "ports");
        for port in at(service, "spec.ports").items() {
            let target = text(port, "targetPort");
            assert!(ports.items().iter().any(|port| text(port, "name") == target), "{name}: {target}");
        }
    }
    // A data plane believes the control plane only under a name that is in its certificate.
    let argument = |maker: &str, flag: &str| {
        let containers = at(&manifests[maker], "spec.template.spec.containers").items()[0].clone();
        let arguments = texts(containers.get("args"));
        arguments.iter().find_map(|argument| argument.strip_prefix(flag).map(str::to_owned)).expect("the flag")
    };
    let names = argument("Deployment gatewright-control-plane", "--grpc-name=");
    let address = argument("StatefulSet gatewright-data-plane", "--control-plane=");
    let host = address.strip_prefix("https://").and_then(|rest| rest.strip_suffix(":8081")).expect("by TLS");
    assert!(names.split(',').any(|name| name == host), "{host} is not among {names}");
    assert!(manifests.contains_key(&format!("Service {host}")));
}

#[test]
fn manifests_fit_the_schemas() {
    let python = paths::target().join("counterparts/kubernetes/bin/python");
    if !python.exists() {
        harness::skip::skipped("Kubernetes' schemas", "kubernetes-validate is not installed; ./check installs it");
        return;
    }
    let mut command = Command::new(python);
    command.arg(paths::root().join("tests/counterparts/kubernetes/validate.py")).env("PYTHONDONTWRITEBYTECODE", "1");
    let output = command.arg(deploy("kubernetes")).args(["1.30", "1.32", "1.34"]).output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("resources fit"), "{said}");
}

/// The binary of an image, whatever its tag and registry.
fn binary_of(image: &str) -> Option<&'static str> {
    let name = image.strip_prefix("gatewright/")?.split(':').next()?;
    Some(match name {
        "control-plane" => "gatewright-control-plane",
        "data-plane" => "gatewright-data-plane",
        "standalone" => "gatewright",
        other => panic!("no image is called {other}"),
    })
}

/// The help of a command with these arguments: it is printed only when all of them are understood.
fn help(binary: &str, arguments: &[String]) -> String {
    let output = Command::new(paths::binary(binary)).args(arguments).arg("--help").output().unwrap();
    assert!(output.status.success(), "{binary} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn known(help: &str, variable: &str) {
    let ours = variable.starts_with("GATEWRIGHT_");
    assert!(!ours || help.contains(&format!("[env: {variable}")), "no command reads {variable}");
}

#[test]
fn commands_and_variables_are_understood() {
    let mut checked = 0;
    for (_, pod) in pods() {
        for container in at(&pod, "containers").items() {
            let binary = binary_of(&text(container, "image")).expect("an image of ours");
            let help = help(binary, &texts(container.get("args")));
            for variable in container.get("env").map(Node::items).unwrap_or_default() {
                known(&help, &text(variable, "name"));
                checked += 1;
            }
        }
    }
    let compose = parsed(&read(&deploy("compose/compose.yml")));
    for service in at(&compose, "services").entries() {
        let Some(binary) = binary_of(&text(&service.node, "image")) else { continue };
        let serving = service.name != "join-token";
        let help = help(binary, &texts(service.node.get("command")));
        for variable in service.node.get("environment").map(Node::entries).unwrap_or_default() {
            // What the control planes are told is told to the command as well.
            if serving {
                known(&help, &variable.name);
            }
            checked += 1;
        }
        for secret in texts(service.node.get("secrets")) {
            at(&compose, "secrets").get(&secret).unwrap_or_else(|| panic!("no secret {secret}"));
        }
    }
    assert!(checked > 10, "{checked}");
}

#[test]
fn images_start_what_is_built() {
    let file = read(&deploy("docker/Dockerfile"));
    let cargo = read(&paths::root().join("Cargo.toml"));
    let rust = file.lines().find_map(|line| line.strip_prefix("ARG RUST=")).expect("a version of Rust");
    assert!(cargo.contains(&format!("rust-version = \"{rust}\"")), "the image builds with Rust {rust}");
    let version = env!("CARGO_PKG_VERSION");
    for (place, line) in [
        ("docker/Dockerfile", format!("ARG VERSION={version}")),
        ("compose/compose.yml", format!("GATEWRIGHT_VERSION:-{version}")),
        ("compose/.env.example", format!("GATEWRIGHT_VERSION={version}")),
        ("kubernetes/kustomization.yaml", format!("newTag: {version}")),
    ] {
        assert!(read(&deploy(place)).contains(&line), "{place} does not say {line}");
    }

    let lock = read(&paths::root().join("Cargo.lock"));
    for package in file.split("--package ").skip(1).filter_map(|rest| rest.split_whitespace().next()) {
        assert!(lock.contains(&format!("name = \"{package}\"")), "{package} is not in the workspace");
    }
    let mut targets = Vec::new();
    for stage in file.split("\nFROM base AS ").skip(1) {
        let name = stage.lines().next().unwrap();
        let binary = binary_of(&format!("gatewright/{name}")).unwrap();
        let line = |start: &str| stage.lines().find_map(|line| line.strip_prefix(start)).unwrap_or_default();
        assert_eq!(line("ENTRYPOINT "), format!("[\"/usr/local/bin/{binary}\"]"), "{name}: no shell in between");
        assert_eq!(line("USER "), format!("{ACCOUNT}:{ACCOUNT}"), "{name}");
        let command: Vec<String> = match line("CMD ") {
            "" => Vec::new(),
            list => serde_json::from_str(list).unwrap(),
        };
        let help = help(binary, &command);
        let variables =
            stage.split_whitespace().filter_map(|word| word.split_once("=0.0.0.0:").or(word.split_once("=/")));
        for (variable, port) in variables {
            known(&help, variable);
            if variable.ends_with("LISTEN") {
                assert!(line("EXPOSE ").split(' ').any(|exposed| exposed == port), "{name}: {port}");
            }
        }
        targets.push(name);
    }
    assert_eq!(targets, ["control-plane", "data-plane", "standalone"]);
}

/// A module of the system tests, whether it is one file or a folder of them.
fn module(name: &str) -> Option<String> {
    let place = paths::root().join("tests/system").join(name);
    if let Ok(files) = std::fs::read_dir(&place) {
        return Some(files.flatten().map(|file| read(&file.path())).collect());
    }
    std::fs::read_to_string(place.with_extension("rs")).ok()
}

/// Nothing is said to work that no test or page shows.
#[test]
fn features_are_shown_by_what_is_named() {
    let text = read(&paths::root().join("docs/features.md"));
    let mut shown = 0;
    for line in text.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| feature ")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [feature, mark, by] = cells.as_slice() else { panic!("three cells: {line}") };
        assert!(["y", "p", "n"].contains(mark), "{line}");
        assert!(*mark != "y" || by.contains('`') || by.contains("]("), "{feature}: nothing shows it");
        for name in by.split('`').skip(1).step_by(2).filter(|name| name.starts_with(|c: char| c.is_ascii_lowercase())) {
            let (file, test) = name.split_once("::").unwrap_or((name, ""));
            let Some(text) = module(file) else {
                assert!(paths::root().join(name).exists() || name.ends_with(':'), "{feature}: {name}");
                continue;
            };
            assert!(test.is_empty() || text.contains(&format!("fn {test}(")), "{feature}: {name}");
            shown += 1;
        }
    }
    assert!(shown > 40, "{shown}");
}

/// The paths that haproxy sends to data planes, as its configuration lists them.
fn inference_paths() -> (Vec<String>, Vec<String>) {
    let text = balancer::shipped();
    let of = |start: &str| {
        let lines = text.lines().filter_map(|line| line.trim().strip_prefix(start).map(str::to_owned));
        lines.flat_map(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).collect()
    };
    (of("acl inference path "), of("acl inference path_beg "))
}

#[test]
fn haproxy_sends_each_path_where_it_belongs() {
    run(async {
        let gateway = Gateway::shared(Mode::Split).await;
        let document = gateway.client().get("/openapi.json").send().await.expect(200).json();
        let (whole, beginnings) = inference_paths();
        for path in document["paths"].as_object().unwrap().keys() {
            let known = whole.contains(path) || beginnings.iter().any(|beginning| path.starts_with(beginning));
            assert!(known, "haproxy.cfg does not send {path} to data planes");
        }

        let ready = |public: &str, operations: &str| Ready {
            public: public.to_owned(),
            grpc: None,
            operations: operations.to_owned(),
        };
        let data = ready(gateway.inference_url(), &gateway.operations_urls()[0]);
        let control = ready(gateway.admin_url(), &gateway.operations_urls()[1]);
        let Some(balancer) = Balancer::start(&[data], &[control]).await else {
            harness::skip::skipped("haproxy of the compose file", "haproxy is not installed; ./check sets it up");
            return;
        };
        let stage = Stage::chat(gateway).await;
        let caller = harness::client::Client::new(balancer.url()).bearer(&stage.key);
        caller.post("/v1/chat/completions", &stage.chat_body()).send().await.expect(200);
        caller.get(&format!("/v1/models/{}", stage.router)).send().await.expect(200);
        caller.get("/v1/me/keys").send().await.expect(200);
        caller.get("/docs").send().await.expect(200);
        let operator = Admin::new(balancer.url(), gateway.master_key());
        operator.read(&format!("routers/{}", stage.router_id)).await;
    });
}

/// The commands of the compose file, as processes: secrets, a control plane, a token, a data plane.
#[test]
fn the_secrets_of_the_compose_file_start_a_fleet() {
    run(async {
        let folder = paths::folder("compose").join("secrets");
        let make = || {
            let made = Command::new("sh").arg(deploy("compose/secrets.sh")).arg(&folder).output().unwrap();
            assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
            String::from_utf8(made.stdout).unwrap()
        };
        let contents = || {
            let files = std::fs::read_dir(&folder).unwrap().flatten();
            files.map(|file| (file.file_name(), std::fs::read(file.path()).unwrap())).collect::<BTreeMap<_, _>>()
        };
        assert_eq!(make().lines().count(), 7);
        let first = contents();
        assert_eq!(make(), "", "what is there is not made again");
        assert_eq!(contents(), first);
        let compose = parsed(&read(&deploy("compose/compose.yml")));
        for secret in at(&compose, "secrets").entries() {
            let file = folder.join(&secret.name);
            let facts = std::fs::metadata(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            assert_eq!(facts.mode() & 0o777, 0o400, "{}", secret.name);
        }
        let password = read(&folder.join("postgres.password"));
        assert_eq!(read(&folder.join("postgres.pgpass")), format!("*:*:*:gatewright:{password}\n"));

        // The database's password comes from its file, as it does there.
        let database = Database::migrated().await;
        let (account, place) = database.url().split_once("://").unwrap().1.split_once('@').unwrap();
        let (user, password) = account.split_once(':').unwrap();
        let (pass, keys) = (folder.with_file_name("pgpass"), folder.as_path());
        std::fs::write(&pass, format!("*:*:*:{user}:{password}\n")).unwrap();
        std::fs::set_permissions(&pass, std::os::unix::fs::PermissionsExt::from_mode(0o400)).unwrap();
        let control_plane = || {
            Launch::new("gatewright-control-plane")
                .env("GATEWRIGHT_DATABASE_URL", format!("postgres://{user}@{place}"))
                .env("PGPASSFILE", &pass)
        };
        let serving = control_plane()
            .args(["serve", "--listen=127.0.0.1:0", "--grpc-listen=127.0.0.1:0", "--operations-listen=127.0.0.1:0"])
            .env("GATEWRIGHT_SECRETS_DIR", keys)
            .start();
        let grpc = serving.ready().await.grpc.unwrap().replace("http://", "https://");
        let token = control_plane().args(["join-token", "create", "--name=compose", "--expires=1h"]).finish().await;
        assert_eq!(token.code, Some(0), "{}", token.said());
        let node = Launch::new("gatewright-data-plane")
            .env("GATEWRIGHT_CONTROL_PLANE", grpc)
            .env("GATEWRIGHT_JOIN_TOKEN", token.stdout.trim())
            .env("GATEWRIGHT_SECRETS_DIR", keys)
            .env("GATEWRIGHT_DATA_DIR", folder.with_file_name("data"))
            .args(["--listen=127.0.0.1:0", "--operations-listen=127.0.0.1:0"])
            .start();
        node.ready().await;
        let ended = node.terminate(Duration::from_secs(30)).await;
        assert_eq!(ended.code(), Some(0), "{}", node.said());
    });
}
