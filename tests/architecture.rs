//! The map is true: every path that it names exists.

use std::path::Path;

/// The paths in back-quotes of a text: those with a slash, and files by their ending.
fn paths(text: &str) -> Vec<&str> {
    text.split('`')
        .skip(1)
        .step_by(2)
        .filter(|word| {
            let rooted = [
                "src/",
                "sandbox/",
                "migrations/",
                "tests/",
                "benches/",
                "docs/",
            ];
            rooted.iter().any(|root| word.starts_with(root))
        })
        .collect()
}

#[test]
fn the_checker_sees_paths() {
    assert_eq!(
        paths("see `src/nowhere/` and `consent`, not src/x"),
        ["src/nowhere/"]
    );
}

#[test]
fn every_path_named_in_the_documents_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for document in ["ARCHITECTURE.md", "CONTRIBUTING.md", "README.md"] {
        let text = std::fs::read_to_string(root.join(document)).unwrap();
        let named = paths(&text);
        let missing: Vec<_> = named
            .iter()
            .filter(|path| !root.join(path).exists())
            .collect();
        assert!(
            missing.is_empty(),
            "{document} names what is not there: {missing:?}"
        );
    }
    let map = std::fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap();
    assert!(paths(&map).len() > 5, "the map names its folders");
}
