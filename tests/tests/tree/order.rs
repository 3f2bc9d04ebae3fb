//! `.config/nextest.toml`: a test that it names by a name of old would run beside tests that it disturbs.

use e2e::ports::root;

/// Module and beginning of the name of every end-to-end test that the file tells apart.
fn named(toml: &str) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for pattern in toml.split("test(/^").skip(1).filter_map(|rest| rest.split("/)").next()) {
        let (modules, test) = pattern.split_once("::").expect("a module and a test");
        for module in modules.trim_matches(['(', ')']).split('|') {
            all.extend(
                test.split('|')
                    .map(|test| (module.to_owned(), test.trim_matches(['(', ')', '_']).to_owned())),
            );
        }
    }
    all
}

#[test]
fn every_test_with_a_place_in_the_order_of_tests_exists() {
    let toml = std::fs::read_to_string(root().join(".config/nextest.toml")).expect("the file");
    let mut sources = Vec::new();
    for dir in ["shell", "sip", "sound"] {
        for entry in std::fs::read_dir(root().join("tests/tests").join(dir)).expect("a directory") {
            let path = entry.expect("an entry").path();
            let module = path.file_stem().expect("a name").to_string_lossy().into_owned();
            sources.push((module, std::fs::read_to_string(&path).unwrap_or_default()));
        }
    }
    let all = named(&toml);
    assert!(all.len() > 20, "{all:?}");
    for (module, test) in all {
        let prefix = module.split('[').next().expect("a beginning");
        let is_it = |name: &str| if prefix == module { name == module } else { name.starts_with(prefix) };
        let mut texts = sources.iter().filter(|(name, _)| is_it(name)).map(|(_, text)| text);
        assert!(texts.any(|text| text.contains(&format!("fn {test}"))), "no test {module}::{test}");
    }
}
