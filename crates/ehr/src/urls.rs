//! Building URLs and reading those that the EHR sends.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use skin_assist_core::ports::EhrError;
use url::Url;

/// Everything but RFC 3986's unreserved characters.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A text as one path segment; none for what would not stay one (nothing, a dot, two dots).
pub(crate) fn encode_segment(text: &str) -> Option<String> {
    let is_a_step = matches!(text, "" | "." | "..");
    (!is_a_step).then(|| utf8_percent_encode(text, SEGMENT).to_string())
}

/// The address of a firm's FHIR service, without a slash at its end.
#[derive(Debug, Clone)]
pub(crate) struct ServiceRoot(Url);

impl ServiceRoot {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Url::parse(text).ok().map(Self)
    }

    /// The path, without a slash at its end even where it is the host's root.
    fn path(&self) -> &str {
        self.0.path().trim_end_matches('/')
    }

    pub(crate) fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// `{root}/{resource type}?{parameters}`.
    pub(crate) fn search(&self, resource: &str, parameters: &[(&str, &str)]) -> Url {
        let mut url = self.0.clone();
        url.set_path(&format!("{}/{resource}", self.path()));
        url.query_pairs_mut().extend_pairs(parameters);
        url
    }

    /// The service itself: where batch Bundles go.
    pub(crate) fn root(&self) -> Url {
        self.0.clone()
    }

    /// A URL of this service as it stands in a Bundle's entry: from the resource type on.
    pub(crate) fn relative(&self, url: &Url) -> String {
        let url = url.as_str();
        url.strip_prefix(self.0.as_str())
            .map_or(url, |rest| rest.trim_start_matches('/'))
            .to_owned()
    }

    /// `{root}/{resource type}`.
    pub(crate) fn collection(&self, resource: &str) -> Url {
        let mut url = self.0.clone();
        url.set_path(&format!("{}/{resource}", self.path()));
        url
    }

    /// `{root}/{resource type}/{id}`, the id encoded.
    pub(crate) fn instance(&self, resource: &str, id: &str) -> Result<Url, EhrError> {
        let id = encode_segment(id).ok_or(EhrError::Malformed {
            what: "an id cannot be a part of a URL",
        })?;
        Ok(self.collection(&format!("{resource}/{id}")))
    }

    /// The id of the `Binary` that a URL leads to, absolute or relative, with or without a version, if it is one of this
    /// very service: the token goes there.
    pub(crate) fn binary_id(&self, reference: &str) -> Option<String> {
        let path = match Url::parse(reference) {
            Ok(url) => {
                if url.origin() != self.0.origin() || !url.username().is_empty() || url.password().is_some() {
                    return None;
                }
                url.path().strip_prefix(self.path())?.strip_prefix('/')?.to_owned()
            }
            Err(url::ParseError::RelativeUrlWithoutBase) => {
                let path = reference.split(['?', '#']).next()?;
                path.strip_prefix('/').unwrap_or(path).to_owned()
            }
            Err(_) => return None,
        };
        let segments: Vec<_> = path.split('/').collect();
        let (["Binary", id] | ["Binary", id, "_history", _]) = segments[..] else {
            return None;
        };
        let id = percent_decode_str(id).decode_utf8().ok()?;
        // A server might take an encoded slash for a slash.
        let stays_one = !id.contains(['/', '\\']) && encode_segment(&id).is_some();
        stays_one.then(|| id.into_owned())
    }

    /// The page that a `next` link of the reply to `request` leads to, if it stays within this firm's service: the token
    /// goes with it, so it must not lead to another host or another firm.
    pub(crate) fn next_page(&self, request: &Url, link: &str) -> Result<Url, EhrError> {
        let malformed = |what| EhrError::Malformed { what };
        let mut next = request
            .join(link)
            .map_err(|_| malformed("the link to the next page is not a URL"))?;
        next.set_fragment(None);
        if next.origin() != self.0.origin() || !next.username().is_empty() || next.password().is_some() {
            return Err(malformed("the next page is on another host"));
        }
        let within = next
            .path()
            .strip_prefix(self.path())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        // A server might take an encoded slash for a slash, and so a step up for a step up.
        let path = next.path().to_ascii_lowercase();
        if !within || path.contains("%2f") || path.contains("%5c") {
            return Err(malformed("the next page is another firm's"));
        }
        if next == *request {
            return Err(malformed("the next page is the same page again"));
        }
        Ok(next)
    }
}

/// The id in a reference to a resource of this type: absolute or relative, with or without a version, encoded or not.
pub(crate) fn reference_id(reference: &str, resource: &str) -> Option<String> {
    if reference.starts_with('#') || reference.starts_with("urn:") {
        return None;
    }
    let path = reference.split(['?', '#']).next()?;
    let mut segments = path.split('/').filter(|segment| !segment.is_empty()).rev().peekable();
    let mut id = segments.next()?;
    if segments.peek() == Some(&"_history") {
        segments.next();
        id = segments.next()?;
    }
    // A bare id names no type, so it cannot name the wrong one.
    if segments.next().is_some_and(|named| named != resource) {
        return None;
    }
    percent_decode_str(id)
        .decode_utf8()
        .ok()
        .map(std::borrow::Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_of_every_form() {
        for reference in [
            "Patient/a|1",
            "Patient/a%7C1",
            "/Patient/a|1",
            "https://ehr.example/firm/x/ema/fhir/v2/Patient/a%7C1",
            "https://ehr.example/firm/x/ema/fhir/v2/Patient/a|1/_history/3",
            "Patient/a%7c1/_history/3",
            "a|1",
        ] {
            assert_eq!(
                reference_id(reference, "Patient").as_deref(),
                Some("a|1"),
                "{reference}"
            );
        }
        for reference in [
            "",
            "#p1",
            "urn:uuid:1",
            "Group/1",
            "https://ehr.example/v2/Group/1",
            "Patient/%ff",
        ] {
            assert_eq!(reference_id(reference, "Patient"), None, "{reference}");
        }
    }

    #[test]
    fn next_links_stay_within_the_firm() {
        let root = ServiceRoot::parse("https://ehr.example/firm/a/ema/fhir/v2").unwrap();
        let request = root.search("Encounter", &[("_count", "50")]);
        for (link, expected) in [
            (
                "https://ehr.example/firm/a/ema/fhir/v2/Encounter?page=2",
                "/firm/a/ema/fhir/v2/Encounter?page=2",
            ),
            (
                "https://EHR.example:443/firm/a/ema/fhir/v2?_getpages=2",
                "/firm/a/ema/fhir/v2?_getpages=2",
            ),
            ("?page=2#x", "/firm/a/ema/fhir/v2/Encounter?page=2"),
            ("Encounter?page=2", "/firm/a/ema/fhir/v2/Encounter?page=2"),
            (
                "/firm/a/ema/fhir/v2/Encounter?page=2",
                "/firm/a/ema/fhir/v2/Encounter?page=2",
            ),
        ] {
            let next = root.next_page(&request, link).unwrap();
            assert_eq!(next.as_str(), format!("https://ehr.example{expected}"));
        }
        for (link, what) in [
            (
                "https://evil.example/firm/a/ema/fhir/v2/Encounter?page=2",
                "the next page is on another host",
            ),
            (
                "//evil.example/firm/a/ema/fhir/v2/Encounter?page=2",
                "the next page is on another host",
            ),
            (
                "http://ehr.example/firm/a/ema/fhir/v2/Encounter?page=2",
                "the next page is on another host",
            ),
            (
                "https://ehr.example:444/firm/a/ema/fhir/v2/Encounter",
                "the next page is on another host",
            ),
            (
                "https://x@ehr.example/firm/a/ema/fhir/v2/Encounter",
                "the next page is on another host",
            ),
            (
                "/firm/b/ema/fhir/v2/Encounter?page=2",
                "the next page is another firm's",
            ),
            (
                "/firm/a/ema/fhir/v23/Encounter?page=2",
                "the next page is another firm's",
            ),
            ("../../../../b/ema/fhir/v2/Encounter", "the next page is another firm's"),
            (
                "/firm/a/ema/fhir/v2/%2e%2e/%2e%2e/Encounter",
                "the next page is another firm's",
            ),
            (
                "/firm/a/ema/fhir/v2/..%2f..%2fEncounter",
                "the next page is another firm's",
            ),
            ("?_count=50", "the next page is the same page again"),
            ("https://", "the link to the next page is not a URL"),
        ] {
            assert_eq!(
                root.next_page(&request, link).unwrap_err(),
                EhrError::Malformed { what },
                "{link}"
            );
        }
    }

    #[test]
    fn a_service_may_be_at_the_root_of_its_host() {
        let root = ServiceRoot::parse("https://fhir.example").unwrap();
        let request = root.search("Encounter", &[("_count", "50")]);
        assert_eq!(request.as_str(), "https://fhir.example/Encounter?_count=50");
        assert_eq!(
            root.instance("Patient", "1").unwrap().as_str(),
            "https://fhir.example/Patient/1"
        );
        let next = root
            .next_page(&request, "https://fhir.example/Encounter?page=2")
            .unwrap();
        assert_eq!(next.as_str(), "https://fhir.example/Encounter?page=2");
        assert_eq!(root.binary_id("https://fhir.example/Binary/1").as_deref(), Some("1"));
    }

    #[test]
    fn only_a_binary_of_the_service_is_one() {
        let root = ServiceRoot::parse("https://ehr.example/firm/a/ema/fhir/v2").unwrap();
        for reference in [
            "Binary/x|1",
            "Binary/x%7C1",
            "/Binary/x|1",
            "Binary/x|1/_history/2",
            "Binary/x|1?_format=json",
            "https://ehr.example/firm/a/ema/fhir/v2/Binary/x%7C1",
            "https://EHR.example:443/firm/a/ema/fhir/v2/Binary/x%7c1/_history/2",
        ] {
            assert_eq!(root.binary_id(reference).as_deref(), Some("x|1"), "{reference}");
        }
        for reference in [
            "https://ehr.example/firm/b/ema/fhir/v2/Binary/1",
            "https://ehr.example/firm/a/ema/fhir/v2/../../../../b/ema/fhir/v2/Binary/1",
            "https://ehr.example/firm/a/ema/fhir/v2Binary/1",
            "https://ehr.example/firm/a/ema/fhir/v23/Binary/1",
            "https://ehr.example/firm/a/ema/fhir/v2/Patient/1",
            "https://ehr.example/firm/a/ema/fhir/v2/Binary",
            "https://ehr.example/firm/a/ema/fhir/v2/Binary/",
            "https://ehr.example/firm/a/ema/fhir/v2/Binary/1/extra",
            "https://ehr.example/firm/a/ema/fhir/v2/Binary/..%2f..%2fPatient",
            "https://evil.example/firm/a/ema/fhir/v2/Binary/1",
            "http://ehr.example/firm/a/ema/fhir/v2/Binary/1",
            "https://x@ehr.example/firm/a/ema/fhir/v2/Binary/1",
            "https://ehr.example:444/firm/a/ema/fhir/v2/Binary/1",
            "//evil.example/Binary/1",
            "../Binary/1",
            "Binary/..",
            "Binary/../Patient",
            "Patient/1",
            "urn:uuid:1",
            "#1",
            "",
        ] {
            assert_eq!(root.binary_id(reference), None, "{reference}");
        }
    }

    #[test]
    fn ids_stay_one_segment() {
        let root = ServiceRoot::parse("https://ehr.example/v2").unwrap();
        let url = root.instance("DocumentReference", "file|139977").unwrap();
        assert_eq!(url.as_str(), "https://ehr.example/v2/DocumentReference/file%7C139977");
        let url = root.instance("Patient", "../a?b#c/ü").unwrap();
        assert_eq!(url.as_str(), "https://ehr.example/v2/Patient/..%2Fa%3Fb%23c%2F%C3%BC");
        assert!(root.instance("Patient", "..").is_err());
    }
}
