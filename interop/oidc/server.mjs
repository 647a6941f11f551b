// A token server of others: npm's `oidc-provider` with the grant client_credentials, for one resource server.
//
//   node server.mjs SETTINGS.json
//
// The settings: `port` (0 lets the system choose), `keys` (a file for the signing key; made when it does not exist, so
// that tokens stay good when the server is started again), `audience` (the FHIR server), and `clients` as OpenID Connect
// registers them: `client_id`, `token_endpoint_auth_method`, `client_secret` or `jwks`, `scope`.
//
// Prints the issuer's URL when it serves. Everything that it refuses, the library refuses.

import { generateKeyPairSync } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import Provider from 'oidc-provider';

const LIFE_OF_A_TOKEN_S = 900;

const settings = JSON.parse(readFileSync(process.argv[2], 'utf8'));

function signingKey() {
  if (!existsSync(settings.keys)) {
    const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
    const key = { ...privateKey.export({ format: 'jwk' }), kid: 'signing', alg: 'RS256', use: 'sig' };
    writeFileSync(settings.keys, JSON.stringify(key), { mode: 0o600 });
  }
  return JSON.parse(readFileSync(settings.keys, 'utf8'));
}

// The issuer's name has the port in it, so the port comes first.
const server = createServer();
server.listen(settings.port, '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const scopes = [...new Set(settings.clients.flatMap(({ scope }) => scope.split(' ')))];
  const provider = new Provider(issuer, {
    clients: settings.clients.map((client) => ({
      grant_types: ['client_credentials'],
      redirect_uris: [],
      response_types: [],
      ...client,
    })),
    clientAuthMethods: ['client_secret_basic', 'client_secret_post', 'private_key_jwt'],
    enabledJWA: { clientAuthSigningAlgValues: ['RS384', 'ES384'] },
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: false },
      resourceIndicators: {
        enabled: true,
        // Few clients name the resource; they mean this one.
        defaultResource: () => settings.audience,
        getResourceServerInfo: () => ({
          accessTokenFormat: 'jwt',
          accessTokenTTL: LIFE_OF_A_TOKEN_S,
          audience: settings.audience,
          jwt: { sign: { alg: 'RS256' } },
          scope: scopes.join(' '),
        }),
      },
    },
    jwks: { keys: [signingKey()] },
    scopes,
    ttl: { ClientCredentials: LIFE_OF_A_TOKEN_S },
  });
  server.on('request', provider.callback());
  console.log(issuer);
});
