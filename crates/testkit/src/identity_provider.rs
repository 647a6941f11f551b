//! An OpenID provider to sign in with: a value that takes requests, keeps to the standards, and sends what it should not where a test
//! wants that. Whoever wants it over HTTP serves it.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex},
};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use ring::{
    digest, hmac,
    rand::{SecureRandom as _, SystemRandom},
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
        RsaPublicKeyComponents,
    },
};
use serde_json::{Value, json};
use skin_assist_core::time::Clock;
use url::{Url, form_urlencoded};

/// RSA keys are not made in a moment; this one proves nothing to anybody.
const RSA_KEY: &str = include_str!("../../ehr/tests/ehr/keys/rsa.pkcs8.pem");

/// How an ID token is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Signing {
    /// With a generated key on P-256.
    #[default]
    Es256,
    /// With an RSA key.
    Rs256,
    /// Not at all (`none`).
    Unsigned,
    /// With HMAC, its secret the published key: what a verifier takes that lets the token choose.
    Hs256ByPublicKey,
    /// With a key of somebody else under the name of a published one.
    Stranger,
}

/// A change of an ID token's claims before it is signed.
pub type Twist = Box<dyn Fn(&mut Value) + Send>;

/// Who signs in, and what the provider does about it.
#[derive(Default)]
pub struct Conduct {
    /// Claims of the person in the ID token, beside those of the protocol.
    pub claims: Value,
    /// Claims that UserInfo alone tells.
    pub user_info: Option<Value>,
    /// An error instead of a code.
    pub denies: Option<&'static str>,
    /// How tokens are signed.
    pub signing: Signing,
    /// What is wrong with the claims.
    pub twist: Option<Twist>,
    /// Changes what the provider says of itself.
    pub metadata: Option<Twist>,
    /// What the answer to the browser says of the issuer (RFC 9207).
    pub issuer_in_answer: Option<&'static str>,
}

/// What a code was issued for.
struct Grant {
    redirect_uri: String,
    challenge: String,
    nonce: String,
}

struct State {
    conduct: Conduct,
    key: EcdsaKeyPair,
    key_id: u32,
    grants: HashMap<String, Grant>,
    asked: BTreeMap<String, usize>,
}

/// The provider. Clones are the same one.
#[derive(Clone)]
pub struct IdentityProvider {
    issuer: Url,
    client_id: String,
    client_secret: Option<String>,
    clock: Arc<dyn Clock>,
    state: Arc<Mutex<State>>,
}

fn encoded(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn new_key() -> EcdsaKeyPair {
    let random = SystemRandom::new();
    let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).expect("random numbers");
    EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, made.as_ref(), &random).expect("a key just made")
}

fn rsa_key() -> RsaKeyPair {
    let body: String = RSA_KEY.lines().filter(|line| !line.starts_with('-')).collect();
    RsaKeyPair::from_pkcs8(&STANDARD.decode(body).expect("PEM")).expect("an RSA key")
}

fn random() -> String {
    let mut bytes = [0_u8; 16];
    SystemRandom::new().fill(&mut bytes).expect("random numbers");
    encoded(bytes)
}

fn answer(status: StatusCode, body: &Value) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body.to_string()));
    *response.status_mut() = status;
    let json = http::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

fn pairs(text: &str) -> HashMap<String, String> {
    form_urlencoded::parse(text.as_bytes()).into_owned().collect()
}

/// # Panics
/// All methods, when a request is not as a client of the protocol sends it.
impl IdentityProvider {
    /// A provider under this issuer with one client; without a secret it is a public one.
    pub fn new(issuer: Url, client_id: &str, client_secret: Option<&str>, clock: Arc<dyn Clock>) -> Self {
        Self {
            issuer,
            client_id: client_id.to_owned(),
            client_secret: client_secret.map(str::to_owned),
            clock,
            state: Arc::new(Mutex::new(State {
                conduct: Conduct::default(),
                key: new_key(),
                key_id: 1,
                grants: HashMap::new(),
                asked: BTreeMap::new(),
            })),
        }
    }

    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().expect("no other test panicked"))
    }

    /// The issuer, as it writes it.
    pub fn issuer(&self) -> String {
        self.issuer.as_str().trim_end_matches('/').to_owned()
    }

    /// From now on it does this.
    pub fn conduct(&self, conduct: Conduct) {
        self.with(|state| state.conduct = conduct);
    }

    /// Signs with a new key under a new name; the former is published no more.
    pub fn rotate(&self) {
        self.with(|state| {
            state.key = new_key();
            state.key_id += 1;
        });
    }

    /// How often a path was asked for.
    pub fn asked(&self, path: &str) -> usize {
        self.with(|state| state.asked.get(path).copied().unwrap_or_default())
    }

    /// One request.
    pub fn handle(&self, request: &Request<Bytes>) -> Response<Bytes> {
        let path = request.uri().path().to_owned();
        let query = pairs(request.uri().query().unwrap_or_default());
        self.with(|state| *state.asked.entry(path.clone()).or_default() += 1);
        match path.as_str() {
            "/.well-known/openid-configuration" => self.metadata(),
            "/keys" => self.keys(),
            "/authorize" => self.authorize(&query),
            "/token" => self.token(request),
            "/userinfo" => self.user_info(request),
            "/logout" => answer(StatusCode::OK, &json!(query)),
            _ => answer(StatusCode::NOT_FOUND, &json!({})),
        }
    }

    fn metadata(&self) -> Response<Bytes> {
        let issuer = self.issuer();
        let mut metadata = json!({
            "issuer": issuer,
            "authorization_endpoint": format!("{issuer}/authorize"),
            "token_endpoint": format!("{issuer}/token"),
            "userinfo_endpoint": format!("{issuer}/userinfo"),
            "jwks_uri": format!("{issuer}/keys"),
            "end_session_endpoint": format!("{issuer}/logout"),
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256", "ES256"],
        });
        self.with(|state| {
            if let Some(change) = &state.conduct.metadata {
                change(&mut metadata);
            }
        });
        answer(StatusCode::OK, &metadata)
    }

    fn keys(&self) -> Response<Bytes> {
        let rsa = RsaPublicKeyComponents::<Vec<u8>>::from(rsa_key().public());
        self.with(|state| {
            let (x, y) = state.key.public_key().as_ref()[1..].split_at(32);
            let keys = json!([
                {"kty": "EC", "crv": "P-256", "use": "sig", "kid": format!("key-{}", state.key_id),
                 "x": encoded(x), "y": encoded(y)},
                {"kty": "RSA", "use": "sig", "alg": "RS256", "kid": "rsa", "n": encoded(rsa.n), "e": encoded(rsa.e)},
            ]);
            answer(StatusCode::OK, &json!({"keys": keys}))
        })
    }

    /// The person agrees at once, or denies.
    fn authorize(&self, query: &HashMap<String, String>) -> Response<Bytes> {
        assert_eq!(query["response_type"], "code");
        assert_eq!(query["client_id"], self.client_id);
        assert_eq!(query["code_challenge_method"], "S256");
        assert!(query["scope"].split(' ').any(|scope| scope == "openid"));
        let mut back = Url::parse(&query["redirect_uri"]).expect("a URL to come back to");
        back.query_pairs_mut().append_pair("state", &query["state"]);
        self.with(|state| {
            let mut pairs = back.query_pairs_mut();
            if let Some(issuer) = state.conduct.issuer_in_answer {
                pairs.append_pair("iss", issuer);
            }
            if let Some(error) = state.conduct.denies {
                pairs.append_pair("error", error);
                pairs.append_pair("error_description", "said by the provider");
                return;
            }
            let code = random();
            pairs.append_pair("code", &code);
            let grant = Grant {
                redirect_uri: query["redirect_uri"].clone(),
                challenge: query["code_challenge"].clone(),
                nonce: query["nonce"].clone(),
            };
            state.grants.insert(code, grant);
        });
        let mut response = answer(StatusCode::FOUND, &json!({}));
        let location = back.as_str().parse().expect("a URL is a header's value");
        response.headers_mut().insert(header::LOCATION, location);
        response
    }

    fn is_the_client(&self, request: &Request<Bytes>, form: &HashMap<String, String>) -> bool {
        let Some(secret) = &self.client_secret else {
            return form.get("client_id") == Some(&self.client_id);
        };
        // Both go as in a form (RFC 6749, section 2.3.1).
        let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        let pair = format!("{}:{}", encoded(&self.client_id), encoded(secret));
        let basic = format!("Basic {}", STANDARD.encode(pair));
        let shown = request.headers().get(header::AUTHORIZATION);
        shown.is_some_and(|shown| shown.as_bytes() == basic.as_bytes()) || form.get("client_secret") == Some(secret)
    }

    fn token(&self, request: &Request<Bytes>) -> Response<Bytes> {
        let refused = |error: &str| answer(StatusCode::BAD_REQUEST, &json!({"error": error}));
        let form = pairs(std::str::from_utf8(request.body()).expect("a form"));
        if !self.is_the_client(request, &form) {
            return refused("invalid_client");
        }
        // A code is good once, whatever becomes of it.
        let Some(grant) = self.with(|state| state.grants.remove(&form["code"])) else {
            return refused("invalid_grant");
        };
        let challenge = encoded(digest::digest(&digest::SHA256, form["code_verifier"].as_bytes()));
        if challenge != grant.challenge || form["redirect_uri"] != grant.redirect_uri {
            return refused("invalid_grant");
        }
        let now = self.clock.now().as_millis() / 1000;
        let mut claims = json!({
            "iss": self.issuer(), "aud": self.client_id, "sub": "248289761001", "nonce": grant.nonce,
            "iat": now, "exp": now + 300,
        });
        let token = self.with(|state| {
            for (name, value) in state.conduct.claims.as_object().into_iter().flatten() {
                claims[name] = value.clone();
            }
            if let Some(twist) = &state.conduct.twist {
                twist(&mut claims);
            }
            signed(state, &claims)
        });
        answer(
            StatusCode::OK,
            &json!({"access_token": "for-user-info", "token_type": "Bearer", "expires_in": 300, "id_token": token}),
        )
    }

    fn user_info(&self, request: &Request<Bytes>) -> Response<Bytes> {
        let shown = request.headers().get(header::AUTHORIZATION);
        assert!(shown.is_some_and(|shown| shown.as_bytes() == b"Bearer for-user-info"));
        let told = self.with(|state| state.conduct.user_info.clone());
        answer(StatusCode::OK, &told.unwrap_or(json!({"sub": "248289761001"})))
    }
}

fn signed(state: &State, claims: &Value) -> String {
    let random = SystemRandom::new();
    let published = format!("key-{}", state.key_id);
    let (alg, key_id) = match state.conduct.signing {
        Signing::Es256 | Signing::Stranger => ("ES256", published.as_str()),
        Signing::Rs256 => ("RS256", "rsa"),
        Signing::Unsigned => ("none", published.as_str()),
        Signing::Hs256ByPublicKey => ("HS256", published.as_str()),
    };
    let header = json!({"alg": alg, "typ": "JWT", "kid": key_id});
    let message = format!("{}.{}", encoded(header.to_string()), encoded(claims.to_string()));
    let ecdsa = |key: &EcdsaKeyPair| {
        let signature = key.sign(&random, message.as_bytes()).expect("random numbers");
        signature.as_ref().to_vec()
    };
    let signature = match state.conduct.signing {
        Signing::Es256 => ecdsa(&state.key),
        Signing::Stranger => ecdsa(&new_key()),
        Signing::Unsigned => Vec::new(),
        Signing::Hs256ByPublicKey => {
            let key = hmac::Key::new(hmac::HMAC_SHA256, state.key.public_key().as_ref());
            hmac::sign(&key, message.as_bytes()).as_ref().to_vec()
        }
        Signing::Rs256 => {
            let key = rsa_key();
            let mut signature = vec![0; key.public().modulus_len()];
            key.sign(&RSA_PKCS1_SHA256, &random, message.as_bytes(), &mut signature)
                .expect("random numbers");
            signature
        }
    };
    format!("{message}.{}", encoded(signature))
}
