//! Style and architecture as a test: the crate graph, what cores may not touch, sizes, leftovers.
//!
//! Every breach is reported as `file:line: what is wrong. How to fix it.`; every rule is shown to catch a planted breach.

use proc_macro2::{Span, TokenStream, TokenTree};
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

/// Which crates of ours each crate may import: the one-way graph of docs/ARCHITECTURE.md.
const GRAPH: &[(&str, &[&str])] = &[
    ("types", &[]),
    ("sip-ua", &["types"]),
    ("webrtc-peer", &["types"]),
    ("media-bridge", &["types", "webrtc-peer"]),
    ("media-io", &["types", "media-bridge", "webrtc-peer"]),
    ("b2bua", &["types", "sip-ua", "media-bridge", "webrtc-peer"]),
    ("fuzz-targets", &["types", "sip-ua", "webrtc-peer", "media-bridge"]),
    ("loadgen", &["media-bridge"]),
    ("simnet", &["types", "sip-ua", "media-bridge", "webrtc-peer", "b2bua"]),
    ("gateway", &["types", "sip-ua", "webrtc-peer", "media-bridge", "media-io", "b2bua"]),
    ("e2e", &["types", "sip-ua", "webrtc-peer", "media-bridge", "media-io", "b2bua", "gateway", "simnet"]),
];
/// Crates without sockets, threads, clocks or randomness.
const CORES: &[&str] = &["types", "sip-ua", "webrtc-peer", "media-bridge", "b2bua", "simnet"];
const FUNCTION_LINES: usize = 70;
const FILE_LINES: usize = 800;
const SKIPPED_DIRS: &[&str] = &["target", ".git", "node_modules", ".tools"];

#[derive(Debug, PartialEq)]
struct Breach {
    file: String,
    line: usize,
    what: String,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.what)
    }
}

/// Where a file lies decides which rules hold for it.
#[derive(Clone, Copy)]
struct Place {
    core: bool,
    /// May name the libraries under a browser session.
    peer: bool,
    /// What users run.
    product: bool,
}

fn place_of(file: &str) -> Place {
    let parts: Vec<&str> = file.split('/').collect();
    let (name, in_src) = match parts.as_slice() {
        ["crates", name, "src", ..] => (*name, true),
        ["crates", name, ..] => (*name, false),
        _ => ("", false),
    };
    let tail = if in_src { parts[3..].join("/") } else { String::new() };
    let sip_io = name == "sip-ua" && (tail.starts_with("io/") || tail == "io.rs");
    let product = in_src && !["fuzz-targets", "loadgen", "simnet"].contains(&name);
    Place {
        core: in_src && CORES.contains(&name) && !sip_io,
        peer: name == "webrtc-peer" || !product,
        product,
    }
}

/// Why this path (fully resolved, segment by segment) may not stand here, if it may not.
fn banned(path: &[String], place: Place) -> Option<&'static str> {
    let first = path.first().map_or("", String::as_str);
    let has = |name: &str| path.iter().any(|segment| segment == name);
    let pair = |a: &str, b: &str| path.windows(2).any(|w| w[0] == a && w[1] == b);
    if has("unbounded_channel") || path.ends_with(&["std", "sync", "mpsc", "channel"].map(String::from)) {
        return Some("an unbounded channel. Use a bounded one with its bound in types/src/limits.rs");
    }
    if first == "str0m" && place.product {
        return Some(
            "str0m in the product. It plays browsers in tests; ICE and DTLS are webrtc-peer's, SRTP ours",
        );
    }
    if path.len() > 1 && ["is", "dimpl"].contains(&first) && !place.peer {
        return Some("ICE or DTLS outside webrtc-peer. Use its Peer");
    }
    if !place.core {
        return None;
    }
    if first == "tokio" {
        return Some("tokio in a core crate. Take inputs by handle_*, give outputs by poll_output");
    }
    if ["UdpSocket", "TcpStream", "TcpListener"].iter().any(|name| has(name)) {
        return Some("a socket in a core crate. Return the datagram as an Output; the shell owns the socket");
    }
    if pair("std", "thread") {
        return Some("a thread in a core crate. Threads belong to media-io and gateway");
    }
    if pair("Instant", "now") {
        return Some("Instant::now in a core crate. Take `now: Instant` as an argument");
    }
    if has("SystemTime") {
        return Some("SystemTime in a core crate. Take `wall: types::Wall` as an argument");
    }
    if first == "rand" || first == "getrandom" || pair("aws_lc_rs", "rand") {
        return Some("randomness in a core crate. Take `&mut dyn types::Entropy` as an argument");
    }
    if pair("mpsc", "channel") {
        return Some("a channel in a core crate. Cores are polled; queue in a bounded VecDeque");
    }
    None
}

fn is_test_cfg(attrs: &[syn::Attribute]) -> bool {
    attrs.iter().any(|attr| {
        let syn::Meta::List(list) = &attr.meta else { return false };
        let tokens = list.tokens.to_string();
        list.path.is_ident("cfg") && (tokens == "test" || tokens.starts_with("all (test"))
    })
}

/// Flattens `use a::{b, c as d}` into (local name, full path).
fn flatten(tree: &syn::UseTree, prefix: &[String], out: &mut Vec<(String, Vec<String>)>) {
    let with = |ident: &syn::Ident| [prefix, &[ident.to_string()]].concat();
    match tree {
        syn::UseTree::Path(path) => flatten(&path.tree, &with(&path.ident), out),
        syn::UseTree::Name(name) if name.ident == "self" => {
            out.push((prefix.last().cloned().unwrap_or_default(), prefix.to_vec()));
        }
        syn::UseTree::Name(name) => out.push((name.ident.to_string(), with(&name.ident))),
        syn::UseTree::Rename(rename) => {
            let path = if rename.ident == "self" { prefix.to_vec() } else { with(&rename.ident) };
            out.push((rename.rename.to_string(), path));
        }
        syn::UseTree::Glob(_) => out.push(("*".into(), prefix.to_vec())),
        syn::UseTree::Group(group) => group.items.iter().for_each(|item| flatten(item, prefix, out)),
    }
}

/// Collects the local names of every import, so that `Instant as I; I::now()` is seen through.
#[derive(Default)]
struct Imports(HashMap<String, Vec<String>>);

impl<'ast> Visit<'ast> for Imports {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        let mut flat = Vec::new();
        flatten(&item.tree, &[], &mut flat);
        self.0.extend(flat);
    }
}

struct Checker<'a> {
    file: &'a str,
    place: Place,
    imports: HashMap<String, Vec<String>>,
    test_depth: usize,
    breaches: Vec<Breach>,
}

impl Checker<'_> {
    fn report(&mut self, span: Span, what: String) {
        self.breaches.push(Breach { file: self.file.into(), line: span.start().line, what });
    }

    fn path(&mut self, mut path: Vec<String>, span: Span) {
        let Some(full) = path.first().and_then(|first| self.imports.get(first)) else {
            // A crate's name alone is a variable or a field of that name.
            let crate_name =
                ["tokio", "str0m", "is", "dimpl", "rand", "getrandom"].iter().any(|name| path == [*name]);
            if !crate_name {
                self.resolved(&path, span);
            }
            return;
        };
        let full = full.clone();
        path.splice(0..1, full);
        self.resolved(&path, span);
    }

    fn resolved(&mut self, path: &[String], span: Span) {
        if self.test_depth > 0 {
            return;
        }
        if let Some(why) = banned(path, self.place) {
            self.report(span, format!("`{}` is {why}.", path.join("::")));
        }
    }

    /// Macro arguments are not parsed by syn: look for `a::b::c` and `name!` in the raw tokens.
    fn tokens(&mut self, stream: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let mut colons = 0;
        let mut start = Span::call_site();
        for tree in stream {
            match &tree {
                TokenTree::Ident(ident) => {
                    if colons != 2 {
                        self.flush(&mut path, start);
                        start = ident.span();
                    }
                    path.push(ident.to_string());
                    colons = 0;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                TokenTree::Punct(punct) => {
                    if punct.as_char() == '!' {
                        self.leftover(path.last().cloned().unwrap_or_default(), start);
                    }
                    self.flush(&mut path, start);
                    colons = 0;
                }
                TokenTree::Group(group) => {
                    self.flush(&mut path, start);
                    colons = 0;
                    self.tokens(group.stream());
                }
                TokenTree::Literal(_) => {
                    self.flush(&mut path, start);
                    colons = 0;
                }
            }
        }
        self.flush(&mut path, start);
    }

    fn flush(&mut self, path: &mut Vec<String>, span: Span) {
        if !path.is_empty() {
            self.path(std::mem::take(path), span);
        }
    }

    fn leftover(&mut self, name: String, span: Span) {
        if name == "todo" || name == "unimplemented" {
            self.report(span, format!("`{name}!` is not code. Write it, or leave the feature out."));
        }
    }

    fn body(&mut self, name: &syn::Ident, block: &syn::Block) {
        let span = block.span();
        let lines = span.end().line - span.start().line + 1;
        if lines > FUNCTION_LINES {
            let what = format!("`fn {name}` has {lines} lines, at most {FUNCTION_LINES}. Split it.");
            self.report(name.span(), what);
        }
    }

    fn in_test(&mut self, attrs: &[syn::Attribute], walk: impl FnOnce(&mut Self)) {
        let test = usize::from(is_test_cfg(attrs));
        self.test_depth += test;
        walk(self);
        self.test_depth -= test;
    }
}

impl<'ast> Visit<'ast> for Checker<'_> {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        let mut flat = Vec::new();
        flatten(&item.tree, &[], &mut flat);
        self.in_test(&item.attrs, |checker| {
            for (_, path) in flat {
                checker.resolved(&path, item.span());
            }
        });
    }
    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.path(segments, path.span());
        visit::visit_path(self, path);
    }
    fn visit_macro(&mut self, mac: &'ast syn::Macro) {
        let name = mac.path.segments.last().map(|segment| segment.ident.to_string());
        self.leftover(name.unwrap_or_default(), mac.span());
        self.visit_path(&mac.path);
        self.tokens(mac.tokens.clone());
    }
    fn visit_attribute(&mut self, attr: &'ast syn::Attribute) {
        if attr.path().is_ident("ignore") {
            self.report(attr.span(), "`#[ignore]` skips a test. Make it run, or delete it.".into());
        }
    }
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        self.in_test(&item.attrs, |checker| visit::visit_item_mod(checker, item));
    }
    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        self.in_test(&item.attrs, |checker| visit::visit_item_impl(checker, item));
    }
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.body(&item.sig.ident, &item.block);
        self.in_test(&item.attrs, |checker| visit::visit_item_fn(checker, item));
    }
    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.body(&item.sig.ident, &item.block);
        self.in_test(&item.attrs, |checker| visit::visit_impl_item_fn(checker, item));
    }
    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(block) = &item.default {
            self.body(&item.sig.ident, block);
        }
        visit::visit_trait_item_fn(self, item);
    }
}

/// All rules that need Rust syntax. `test_file` is true for files that only a `#[cfg(test)] mod` includes.
fn check_rust(file: &str, source: &str, test_file: bool) -> Vec<Breach> {
    let ast = match syn::parse_file(source) {
        Ok(ast) => ast,
        Err(error) => {
            let line = error.span().start().line;
            return vec![Breach { file: file.into(), line, what: format!("does not parse: {error}.") }];
        }
    };
    let mut imports = Imports::default();
    imports.visit_file(&ast);
    let mut checker = Checker {
        file,
        place: place_of(file),
        imports: imports.0,
        test_depth: usize::from(test_file),
        breaches: Vec::new(),
    };
    checker.visit_file(&ast);
    checker.breaches
}

/// Rules on plain text: machine paths and length.
fn check_text(file: &str, source: &str) -> Vec<Breach> {
    let machine_paths = [concat!("/wo", "rk/"), concat!("/ro", "ot/")];
    let mut breaches = Vec::new();
    for (index, text) in source.lines().enumerate() {
        if let Some(path) = machine_paths.iter().find(|path| text.contains(**path)) {
            let what =
                format!("names the path `{path}` of one machine. Use a path relative to the repository.");
            breaches.push(Breach { file: file.into(), line: index + 1, what });
        }
        if file.ends_with("package-lock.json") && text.contains("\"resolved\"") {
            let what = "names a registry host. Set omit-lockfile-registry-resolved in .npmrc and lock again.";
            breaches.push(Breach { file: file.into(), line: index + 1, what: what.into() });
        }
    }
    let lines = source.lines().count();
    let code = [".rs", ".js", ".mjs"].iter().any(|end| file.ends_with(end));
    if code && lines > FILE_LINES {
        let what = format!("{lines} lines, at most {FILE_LINES}. Split it into modules.");
        breaches.push(Breach { file: file.into(), line: FILE_LINES + 1, what });
    }
    breaches
}

/// One dependency of one of our crates on another of ours.
struct Edge<'a> {
    from: &'a str,
    to: &'a str,
    dev: bool,
}

fn check_edge(edge: &Edge<'_>, manifest: &str) -> Option<Breach> {
    let allowed = GRAPH.iter().find(|(name, _)| *name == edge.from).map(|(_, to)| *to);
    let what = match allowed {
        None => format!(
            "crate `{}` is not in the crate graph. Add it to GRAPH in tests/tests/tree/tidy.rs.",
            edge.from
        ),
        Some(allowed) if allowed.contains(&edge.to) => return None,
        Some(_) if edge.dev && edge.to != "simnet" && edge.to != "gateway" => return None,
        Some(_) => {
            format!(
                "`{}` may not depend on `{}`. Move the code, or pass data through `types`.",
                edge.from, edge.to
            )
        }
    };
    let line =
        manifest.lines().position(|text| text.trim_start().starts_with(edge.to)).map_or(1, |at| at + 1);
    Some(Breach { file: format!("crates/{}/Cargo.toml", edge.from), line, what })
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the repository").to_path_buf()
}

/// Every file under the repository that git would track.
fn files(dir: &Path, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).expect("readable directory") {
        let path = entry.expect("readable entry").path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if path.is_dir() && !SKIPPED_DIRS.contains(&name) {
            files(&path, out);
        } else if path.is_file() {
            out.push(path);
        }
    }
}

/// Files that exist only under `#[cfg(test)] mod name;` of `parent`.
fn test_modules(parent: &Path, source: &str, out: &mut HashSet<PathBuf>) {
    let Ok(ast) = syn::parse_file(source) else { return };
    let stem = parent.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let dir = parent.parent().unwrap_or(Path::new("")).to_path_buf();
    let base = if ["mod", "lib", "main"].contains(&stem) { dir } else { dir.join(stem) };
    for item in &ast.items {
        if let syn::Item::Mod(module) = item
            && module.content.is_none()
            && is_test_cfg(&module.attrs)
        {
            out.insert(base.join(format!("{}.rs", module.ident)));
            out.insert(base.join(module.ident.to_string()));
        }
    }
}

fn fail_on(breaches: &[Breach]) {
    let list: Vec<String> = breaches.iter().map(ToString::to_string).collect();
    assert!(breaches.is_empty(), "{} breaches of the house rules:\n{}", list.len(), list.join("\n"));
}

#[test]
fn sources_keep_the_house_rules() {
    let root = root();
    let mut all = Vec::new();
    files(&root, &mut all);
    let texts: Vec<(PathBuf, String)> = all
        .into_iter()
        .filter_map(|path| Some((path.clone(), std::fs::read_to_string(&path).ok()?)))
        .collect();
    let is_rust = |path: &Path| path.extension().is_some_and(|ext| ext == "rs");
    let mut test_files = HashSet::new();
    for (path, source) in texts.iter().filter(|(path, _)| is_rust(path)) {
        test_modules(path, source, &mut test_files);
    }
    assert!(texts.iter().filter(|(path, _)| is_rust(path)).count() > 10, "the walk found the sources");
    let mut breaches = Vec::new();
    for (path, source) in &texts {
        let name = path.strip_prefix(&root).expect("below the root").to_string_lossy().into_owned();
        breaches.extend(check_text(&name, source));
        if is_rust(path) {
            let test = path.ancestors().any(|ancestor| test_files.contains(ancestor));
            breaches.extend(check_rust(&name, source, test));
        }
    }
    fail_on(&breaches);
}

#[test]
fn crates_depend_only_along_the_graph() {
    let metadata = cargo_metadata::MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .no_deps()
        .other_options(vec!["--offline".into()])
        .exec()
        .expect("cargo metadata");
    let ours: HashSet<String> = metadata.packages.iter().map(|package| package.name.to_string()).collect();
    let mut breaches = Vec::new();
    for package in &metadata.packages {
        let manifest = std::fs::read_to_string(&package.manifest_path).expect("manifest");
        for dependency in package.dependencies.iter().filter(|dependency| ours.contains(&dependency.name)) {
            let dev = dependency.kind == cargo_metadata::DependencyKind::Development;
            let edge = Edge { from: package.name.as_ref(), to: &dependency.name, dev };
            breaches.extend(check_edge(&edge, &manifest));
        }
        let known = GRAPH.iter().any(|(name, _)| *name == package.name.as_str());
        assert!(known, "crate `{}` is not in GRAPH: decide what it may import", package.name);
    }
    fail_on(&breaches);
}

mod planted {
    use super::*;

    fn breaches(file: &str, source: &str) -> Vec<String> {
        check_rust(file, source, false).iter().map(ToString::to_string).collect()
    }

    fn caught(file: &str, source: &str, line: usize, words: &str) {
        let found = breaches(file, source);
        let start = format!("{file}:{line}: ");
        assert!(
            found.iter().any(|text| text.starts_with(&start) && text.contains(words)),
            "expected `{start}…{words}…`, found {found:?}"
        );
    }

    const CORE: &str = "crates/b2bua/src/call.rs";

    #[test]
    fn tokio_in_a_core_is_caught() {
        caught(CORE, "fn f() {\n    tokio::spawn(async {});\n}", 2, "tokio in a core");
        caught(CORE, "use tokio::{net, time};", 1, "tokio in a core");
    }

    #[test]
    fn sockets_in_a_core_are_caught() {
        for socket in ["UdpSocket", "TcpStream", "TcpListener"] {
            caught(CORE, &format!("use std::net::{{IpAddr, {socket}}};"), 1, "a socket in a core");
            caught(CORE, &format!("struct S(\n std::net::{socket});"), 2, "a socket in a core");
        }
    }

    #[test]
    fn threads_in_a_core_are_caught() {
        caught(CORE, "use std::{fmt, thread};", 1, "a thread in a core");
        caught(CORE, "fn f() { std::thread::yield_now() }", 1, "a thread in a core");
    }

    #[test]
    fn clocks_in_a_core_are_caught_through_aliases_and_macros() {
        caught(CORE, "use std::time::Instant;\nfn f() { Instant::now(); }", 2, "Instant::now in a core");
        caught(CORE, "use std::time::Instant as I;\nfn f() { I::now(); }", 2, "Instant::now in a core");
        caught(CORE, "fn f() {\n println!(\"{:?}\", (1, Instant::now()));\n}", 2, "Instant::now in a core");
        caught(CORE, "fn f() -> std::time::SystemTime { g() }", 1, "SystemTime in a core");
    }

    #[test]
    fn randomness_in_a_core_is_caught() {
        caught(CORE, "fn f() -> u8 { rand::random() }", 1, "randomness in a core");
        caught(CORE, "fn f() { getrandom::fill(&mut []); }", 1, "randomness in a core");
        caught("crates/sip-ua/src/auth.rs", "use aws_lc_rs::rand;", 1, "randomness in a core");
    }

    #[test]
    fn unbounded_channels_are_caught_everywhere() {
        caught(CORE, "use std::sync::mpsc;\nfn f() { mpsc::channel::<u8>(); }", 2, "an unbounded channel");
        caught(CORE, "use futures::mpsc;\nfn f() { mpsc::channel::<u8>(); }", 2, "a channel in a core");
        let shell = "crates/gateway/src/main.rs";
        caught(shell, "fn f() { tokio::sync::mpsc::unbounded_channel::<u8>(); }", 1, "an unbounded channel");
        caught(
            shell,
            "use std::sync::mpsc::{self};\nfn f() { mpsc::channel::<u8>(); }",
            2,
            "an unbounded channel",
        );
        let bounded = "use tokio::sync::mpsc;\nfn f() { mpsc::channel::<u8>(4); }";
        assert_eq!(breaches(shell, bounded), Vec::<String>::new());
    }

    #[test]
    fn libraries_of_browser_sessions_are_caught_outside_their_places() {
        caught("crates/webrtc-peer/src/peer.rs", "use str0m::Rtc;", 1, "str0m in the product");
        caught("crates/media-bridge/src/lib.rs", "fn f(_: str0m::Rtc) {}", 1, "str0m in the product");
        caught("crates/media-bridge/src/lib.rs", "use is::IceAgent;", 1, "ICE or DTLS outside");
        caught("crates/gateway/src/main.rs", "fn f(_: dimpl::Dtls) {}", 1, "ICE or DTLS outside");
        for (file, text) in [
            ("crates/webrtc-peer/src/demux.rs", "use is::stun::StunMessage; use dimpl::Dtls;"),
            ("crates/media-bridge/tests/browser/rtc.rs", "use str0m::Rtc; use is::IceAgent;"),
            ("crates/media-bridge/src/lib.rs", "fn f(is: u8) { g!(self.str0m, is) }"),
        ] {
            assert_eq!(breaches(file, text), Vec::<String>::new());
        }
    }

    #[test]
    fn test_modules_and_shells_are_free_of_the_core_bans() {
        let inline = "#[cfg(test)]\nmod tests { fn f() { std::time::Instant::now(); } }";
        assert_eq!(breaches(CORE, inline), Vec::<String>::new());
        assert!(check_rust(CORE, "use tokio::net;", true).is_empty());
        assert_eq!(
            breaches("crates/sip-ua/src/io/udp.rs", "use tokio::net::UdpSocket;"),
            Vec::<String>::new()
        );
        assert_eq!(breaches("crates/media-io/src/lib.rs", "use std::thread;"), Vec::<String>::new());
        let mut found = HashSet::new();
        test_modules(Path::new("src/call.rs"), "#[cfg(test)]\nmod tests;\nmod live;", &mut found);
        assert!(
            found.contains(Path::new("src/call/tests.rs")) && !found.contains(Path::new("src/call/live.rs"))
        );
    }

    #[test]
    fn leftovers_are_caught_in_tests_too() {
        caught(CORE, "fn f() {\n todo!()\n}", 2, "`todo!`");
        caught(CORE, "fn f() { g(vec![unimplemented!()]) }", 1, "`unimplemented!`");
        caught(
            "tests/tests/x.rs",
            "#[cfg(test)]\nmod t {\n #[test]\n #[ignore]\n fn f() {} }",
            4,
            "#[ignore]",
        );
        caught("tests/tests/x.rs", "#[ignore = \"slow\"]\nfn f() {}", 1, "#[ignore]");
    }

    #[test]
    fn long_functions_and_files_are_caught() {
        let body = "    g();\n".repeat(FUNCTION_LINES - 1);
        caught(CORE, &format!("struct S;\nimpl S {{\nfn f() {{\n{body}}}\n}}"), 3, "`fn f` has 71 lines");
        let body = "    g();\n".repeat(FUNCTION_LINES - 2);
        assert_eq!(breaches(CORE, &format!("fn f() {{\n{body}}}")), Vec::<String>::new());
        for file in ["crates/gateway/web/phone.js", "tests/drivers/x.mjs", CORE] {
            let found = check_text(file, &"\n".repeat(FILE_LINES + 1));
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(check_text(file, &"\n".repeat(FILE_LINES)).is_empty());
        }
    }

    #[test]
    fn machine_paths_and_registry_hosts_are_caught() {
        let planted = format!("fine\ncd {}x\nls {}y", concat!("/wo", "rk/"), concat!("/ro", "ot/"));
        let lines: Vec<usize> = check_text("docs/x.md", &planted).iter().map(|breach| breach.line).collect();
        assert_eq!(lines, [2, 3]);
        assert_eq!(check_text("tests/package-lock.json", "\"resolved\": \"https://host\"").len(), 1);
    }

    #[test]
    fn wrong_edges_of_the_crate_graph_are_caught() {
        let caught = |from, to, dev| check_edge(&Edge { from, to, dev }, "[dependencies]\nsimnet = 1\n");
        assert!(caught("sip-ua", "media-bridge", false).is_some());
        assert!(caught("media-bridge", "sip-ua", false).is_some());
        assert!(caught("types", "sip-ua", false).is_some());
        assert!(caught("newcomer", "types", false).is_some());
        assert!(caught("b2bua", "sip-ua", false).is_none());
        assert!(caught("e2e", "simnet", true).is_none());
        let breach = caught("b2bua", "simnet", true).expect("simnet is for e2e only");
        assert_eq!((breach.file.as_str(), breach.line), ("crates/b2bua/Cargo.toml", 2));
    }
}
