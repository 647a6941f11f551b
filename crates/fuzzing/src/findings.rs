//! A model server that answers with any bytes.

use bytes::Bytes;
use futures::executor::block_on;
use http::Request;
use skin_assist_core::{
    domain::{ClassProbability, Findings, PhotoBytes, Route},
    ports::VisionModel as _,
    wire,
};
use skin_assist_endpoints::inference::OpenInferenceVision;
use url::Url;

use crate::replies::Replies;

fn to_the_server(request: &Request<Bytes>) {
    let host = request.uri().authority().map(http::uri::Authority::as_str);
    assert_eq!(host, Some("models.example"));
    assert!(request.uri().path().starts_with("/v2/"));
}

/// What the stages rely on.
fn believed(findings: &Findings, route: Route) {
    assert_eq!(findings.route, route);
    assert!(!findings.models.is_empty() && findings.further_conditions.len() <= wire::MOST_FURTHER);
    let fraction = |value: f32| (-0.01..=1.01).contains(&value);
    let probable = |class: &ClassProbability| fraction(class.probability);
    assert!(findings.ranked.iter().all(probable));
    for region in &findings.regions {
        let area = region.area;
        assert!(
            [area.x, area.y, area.x + area.width, area.y + area.height]
                .into_iter()
                .all(fraction)
        );
        assert!(region.classes.iter().all(probable));
    }
}

/// The first byte chooses between findings as they are, an error as it is, and the protocol: an index of models, their metadata
/// and a look's answer.
pub fn any_reply(input: &[u8]) {
    let [what, rest @ ..] = input else { return };
    let route = if what & 1 == 0 {
        Route::Solitary
    } else {
        Route::Widespread
    };
    match what >> 1 & 3 {
        0 => match wire::findings(route, rest) {
            Ok(findings) => {
                believed(&findings, route);
                let sent = wire::sent_findings(&findings).expect("what was read can be written");
                assert!(
                    wire::findings(route, &sent).is_ok(),
                    "findings do not survive being passed on"
                );
            }
            Err(error) => assert!(error.to_string().len() < 400),
        },
        1 => {
            let [status, body @ ..] = rest else { return };
            let error = wire::understood(400 + u16::from(*status), body, None);
            assert!(error.to_string().len() < 400);
        }
        _ => block_on(async {
            let base = Url::parse("https://models.example").expect("a URL");
            if let Ok(vision) = OpenInferenceVision::connect(Replies::of(rest, to_the_server), base).await {
                for (route, models) in vision.served() {
                    assert!(!models.is_empty());
                    let photo = PhotoBytes::new(Bytes::from_static(b"photo"));
                    if let Ok(findings) = vision.look(route, &photo).await {
                        believed(&findings, route);
                    }
                }
            }
        }),
    }
}
