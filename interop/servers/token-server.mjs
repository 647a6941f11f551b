// A token server of others: npm's `oidc-provider` with the grant client_credentials, for one FHIR server.
//
//   node token-server.mjs SETTINGS.json
//
// The settings: `port` (0 lets the system choose), `keys` (a file for the signing key; made when it does not exist, so
// that tokens stay good when the server is started again), `audience` (the FHIR server), and `clients` as OpenID Connect
// registers them: `client_id`, `token_endpoint_auth_method`, `client_secret` or `jwks`, `scope`. Beside that each has
// `life_s`, its tokens' life, and may have `tenant`, which goes into its tokens as the claim `tenant_id`.
//
// Prints the issuer's URL when it serves. Everything that it refuses, the library refuses.

import { generateKeyPairSync } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import Provider from 'oidc-provider';

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
  const own = new Map(settings.clients.map(({ client_id, life_s, tenant }) => [client_id, { life_s, tenant }]));
  const provider = new Provider(issuer, {
    clients: settings.clients.map(({ life_s, tenant, ...client }) => ({
      grant_types: ['client_credentials'],
      redirect_uris: [],
      response_types: [],
      ...client,
    })),
    clientAuthMethods: ['client_secret_basic', 'client_secret_post', 'private_key_jwt'],
    enabledJWA: { clientAuthSigningAlgValues: ['RS384', 'ES384'] },
    extraTokenClaims: (_, token) => {
      const { tenant } = own.get(token.clientId);
      return tenant === undefined ? undefined : { tenant_id: tenant };
    },
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: false },
      resourceIndicators: {
        enabled: true,
        // Few clients name the resource; they mean this one.
        defaultResource: () => settings.audience,
        getResourceServerInfo: () => ({
          accessTokenFormat: 'jwt',
          audience: settings.audience,
          jwt: { sign: { alg: 'RS256' } },
          scope: scopes.join(' '),
        }),
      },
    },
    jwks: { keys: [signingKey()] },
    scopes,
    ttl: { ClientCredentials: (_, token) => own.get(token.clientId).life_s },
  });
  server.on('request', provider.callback());
  console.log(issuer);
});
