//! One list of cases for both runtimes.
//!
//! The part for ONNX Runtime needs its library: `ORT_DYLIB_PATH` says where it is, as `cargo xtask test` arranges. A
//! path that leads nowhere is a failure; without the variable the part is not run, and says so.

mod support;

use std::path::Path;

use skin_assist_core::domain::Route;
use skin_assist_models::{
    pack::Pack,
    runtime::{Error, Names, Runtime, RuntimeChoice, Session, Tensor},
};
use support::{fixture, runtimes};

const CLASSIFIER: Names<'_> = Names {
    input: "image",
    output: "logits",
};

fn session(runtime: &Runtime, file: &str, names: Names<'_>) -> Box<dyn Session> {
    let model = runtime
        .load(&fixture(file), names)
        .unwrap_or_else(|error| panic!("{runtime:?}, {file}: {error}"));
    model
        .session()
        .unwrap_or_else(|error| panic!("{runtime:?}, {file}: {error}"))
}

/// Red, green and blue at these levels.
fn plain(colour: [f32; 3], side: usize) -> Tensor {
    let data = colour
        .iter()
        .flat_map(|level| std::iter::repeat_n(*level, side * side))
        .collect();
    Tensor {
        shape: vec![1, 3, side, side],
        data,
    }
}

/// Numbers between -1 and 1 that look like noise.
fn noise(shape: Vec<usize>, seed: u64) -> Tensor {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let length = shape.iter().product();
    let data = std::iter::repeat_with(|| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        ((state >> 40) as f32 / (1 << 23) as f32) - 1.0
    });
    Tensor {
        shape,
        data: data.take(length).collect(),
    }
}

struct Case {
    name: &'static str,
    check: fn(&Runtime),
}

/// What every runtime must do. A new runtime is done when this list passes.
const CASES: &[Case] = &[
    Case {
        name: "describes itself",
        check: describes_itself,
    },
    Case {
        name: "computes what the network says",
        check: computes,
    },
    Case {
        name: "reads a detector's answer with its shape",
        check: keeps_the_shape,
    },
    Case {
        name: "gives the same answer again, in any thread",
        check: is_deterministic,
    },
    Case {
        name: "passes on what is not a number",
        check: passes_not_a_number,
    },
    Case {
        name: "refuses bytes that are no model",
        check: refuses_garbage,
    },
    Case {
        name: "survives damaged models",
        check: survives_damaged_models,
    },
    Case {
        name: "names a missing input or output",
        check: names_what_is_missing,
    },
    Case {
        name: "refuses a second input",
        check: refuses_two_inputs,
    },
    Case {
        name: "refuses a tensor of another size, and goes on",
        check: refuses_another_size,
    },
];

#[test]
fn conformance() {
    for runtime in runtimes("conformance") {
        for case in CASES {
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| (case.check)(&runtime)));
            assert!(outcome.is_ok(), "{runtime:?} fails the case: {}", case.name);
        }
    }
}

fn describes_itself(runtime: &Runtime) {
    let description = runtime.describe();
    assert!(["rten", "onnxruntime"].contains(&description.name));
    assert!(
        description.version.starts_with(|digit: char| digit.is_ascii_digit()),
        "{description}"
    );
    assert_eq!(description.library.is_some(), description.name == "onnxruntime");
}

fn computes(runtime: &Runtime) {
    let mut session = session(runtime, "classifier.onnx", CLASSIFIER);
    let answer = session.run(&plain([1.0, 0.25, -0.5], 8)).expect("an answer");
    assert_eq!(answer.shape, [1, 3]);
    for (value, expected) in answer.data.iter().zip([4.0, 1.5, -2.0]) {
        assert!((value - expected).abs() < 1e-5, "{:?}", answer.data);
    }
}

fn keeps_the_shape(runtime: &Runtime) {
    let mut session = session(
        runtime,
        "detector.onnx",
        Names {
            input: "image",
            output: "detections",
        },
    );
    let answer = session.run(&plain([1.0; 3], 16)).expect("an answer");
    assert_eq!(answer.shape, [1, 5, 4]);
    assert_eq!(answer.data[..4], [4.0, 4.5, 12.0, 15.0]);
    assert!((answer.data[16] - 0.9).abs() < 1e-5, "{:?}", answer.data);
}

fn is_deterministic(runtime: &Runtime) {
    let pack = Pack::reference(Route::Widespread)
        .expect("a pack")
        .load(runtime)
        .expect("it loads");
    let input = &pack.manifest().classifier.input;
    let input = noise(vec![1, 3, input.height as usize, input.width as usize], 5);
    let mut first = pack.classifier().session().expect("a session");
    let expected = first.run(&input).expect("an answer");
    assert_eq!(first.run(&input).expect("an answer"), expected);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut session = pack.classifier().session().expect("a session");
                for _ in 0..3 {
                    assert_eq!(session.run(&input).expect("an answer"), expected);
                }
            });
        }
    });
}

fn passes_not_a_number(runtime: &Runtime) {
    let mut session = session(runtime, "not-a-number.onnx", CLASSIFIER);
    let answer = session.run(&plain([0.5; 3], 8)).expect("an answer");
    assert!(answer.data.iter().all(|value| value.is_nan()), "{:?}", answer.data);
}

fn refuses_garbage(runtime: &Runtime) {
    for bytes in [&b""[..], b"no model", &[0xFF; 1000]] {
        let error = runtime.load(bytes, CLASSIFIER).err().expect("no model");
        assert!(matches!(error, Error::Load { .. }), "{error}");
        assert!(!error.hint().is_empty());
    }
}

fn survives_damaged_models(runtime: &Runtime) {
    // Some of them are still models, if useless ones: they may load and even run. Nothing may panic, hang or ask for
    // all memory.
    let whole = fixture("classifier.onnx");
    let attempt = |bytes: &[u8]| {
        if let Ok(model) = runtime.load(bytes, CLASSIFIER) {
            let _ = model.session().and_then(|mut session| session.run(&plain([0.0; 3], 8)));
        }
    };
    for length in 0..whole.len() {
        attempt(&whole[..length]);
    }
    for position in 0..whole.len() {
        for change in [0x01, 0x80, 0xFF] {
            let mut damaged = whole.clone();
            damaged[position] ^= change;
            attempt(&damaged);
        }
    }
}

fn names_what_is_missing(runtime: &Runtime) {
    let bytes = fixture("classifier.onnx");
    let error = runtime
        .load(
            &bytes,
            Names {
                input: "picture",
                output: "logits",
            },
        )
        .err()
        .expect("no such input");
    assert!(
        matches!(&error, Error::Name { kind: "input", found, .. } if found == "image"),
        "{error}"
    );
    let error = runtime
        .load(
            &bytes,
            Names {
                input: "image",
                output: "boxes",
            },
        )
        .err()
        .expect("no such output");
    assert!(
        matches!(&error, Error::Name { kind: "output", found, .. } if found == "logits"),
        "{error}"
    );
}

fn refuses_two_inputs(runtime: &Runtime) {
    let error = runtime
        .load(&fixture("two-inputs.onnx"), CLASSIFIER)
        .err()
        .expect("two inputs");
    assert!(matches!(error, Error::Inputs { count: 2 }), "{error}");
}

fn refuses_another_size(runtime: &Runtime) {
    let mut session = session(runtime, "classifier.onnx", CLASSIFIER);
    let error = session.run(&plain([0.0; 3], 9)).expect_err("8 x 8 is stated");
    assert!(matches!(error, Error::Run { .. }), "{error}");
    let short = Tensor {
        shape: vec![1, 3, 8, 8],
        data: vec![0.0; 10],
    };
    let error = session.run(&short).expect_err("too few numbers");
    assert!(matches!(error, Error::Run { .. }), "{error}");
    assert!(session.run(&plain([0.0; 3], 8)).is_ok());
}

#[test]
fn both_runtimes_agree_on_the_reference_packs() {
    let runtimes = runtimes("agreement on the reference packs");
    let [one, other] = &runtimes[..] else {
        return;
    };
    for route in Route::ALL {
        let pack = Pack::reference(route).expect("a pack");
        let (one, other) = (pack.load(one).expect("it loads"), pack.load(other).expect("it loads"));
        let manifest = pack.manifest();
        let compare = |input: &skin_assist_models::pack::ModelInput, mut sessions: [Box<dyn Session>; 2]| {
            for seed in 0..10 {
                let input = noise(vec![1, 3, input.height as usize, input.width as usize], seed);
                let [one, other] = sessions
                    .each_mut()
                    .map(|session| session.run(&input).expect("an answer"));
                assert_eq!(one.shape, other.shape, "{route}");
                for (one, other) in one.data.iter().zip(&other.data) {
                    let tolerance = 1e-4 * one.abs().max(1.0);
                    assert!(
                        (one - other).abs() <= tolerance,
                        "{route}, seed {seed}: {one} and {other}"
                    );
                }
            }
        };
        compare(
            &manifest.classifier.input,
            [&one, &other].map(|pack| pack.classifier().session().expect("a session")),
        );
        if let Some(detector) = &manifest.detector {
            let session = |pack: &skin_assist_models::pack::LoadedPack| {
                pack.detector().expect("a detector").session().expect("a session")
            };
            compare(&detector.input, [session(&one), session(&other)]);
        }
    }
}

#[test]
fn libraries_that_do_not_fit_are_errors_with_hints() {
    // With the right library in use or not: another one is refused, and nothing panics.
    let _ = runtimes("refusal of a second library");
    let folder = tempfile::tempdir().expect("a folder");
    let broken = folder.path().join("libonnxruntime.so");
    std::fs::write(&broken, b"\x7FELF but not really").expect("a file");
    for path in [broken.as_path(), folder.path(), Path::new("nowhere/libonnxruntime.so")] {
        let error = Runtime::open(&RuntimeChoice::OnnxRuntime(path.to_owned())).expect_err("no library");
        assert!(
            matches!(
                error,
                Error::LibraryMissing { .. } | Error::LibraryUnfit { .. } | Error::LibraryInUse { .. }
            ),
            "{error}"
        );
        assert!(!error.hint().is_empty());
    }
}
