// Opens a golden file with Node's own crypto, from the key-encryption key down: node read.mjs v1.json
// It shares no line with socialvault: what it prints is what the documented byte format says.
import { createDecipheriv, createHash } from "node:crypto";
import { readFileSync } from "node:fs";

const hex = (text) => Buffer.from(text, "hex");
const number = (value, bytes) => hex(BigInt(value).toString(16).padStart(bytes * 2, "0"));
const keyId = (key) => createHash("sha256").update("socialvault/v1/key-id").update(key).digest();
const part = (data) => Buffer.concat([number(data.length, 4), data]);

const file = JSON.parse(readFileSync(process.argv[2], "utf8"));

function open(key, envelope, purpose, at) {
  const header = envelope.subarray(0, 36);
  if (!header.equals(Buffer.concat([Buffer.from("SV\x01\x01"), keyId(key)]))) throw new Error("another key or format");
  const texts = [purpose, at.tenant, at.owner, at.provider ?? "", at.issuer ?? ""].map((text) => Buffer.from(text));
  const parts = [header, hex(file.vault_id), ...texts, at.item, number(at.generation ?? 0, 8), number(1, 2)];
  const cipher = createDecipheriv("aes-256-gcm", key, envelope.subarray(36, 48), { authTagLength: 16 });
  cipher.setAAD(Buffer.concat(parts.map(part)));
  cipher.setAuthTag(envelope.subarray(-16));
  return Buffer.concat([cipher.update(envelope.subarray(48, -16)), cipher.final()]);
}

function unwrap(wrapping, row, purpose) {
  const key = open(wrapping, hex(row.wrapped), purpose, { ...row, item: Buffer.from(row.key_id) });
  if (keyId(key).toString("hex") !== row.key_id) throw new Error("the key is not the one it is called");
  return key;
}

const moment = (plain, offset) => {
  const us = plain.readBigInt64BE(offset);
  return us === -(2n ** 63n) ? null : us.toString();
};

function token(plain) {
  const parts = [];
  for (let offset = 44, start = 64; offset < 64; offset += 4) {
    const end = start + plain.readUInt32BE(offset);
    parts.push(plain.toString("utf8", start, end));
    start = end;
  }
  const [access_token, scopes, refresh_token, id_token, rest] = parts;
  const times = [4, 12, 20, 28, 36].map((offset) => moment(plain, offset));
  return { schema: plain[0], times, access_token, scopes, refresh_token, id_token, rest: JSON.parse(rest || "{}") };
}

const vaultKey = unwrap(hex(file.kek), file.vault_key, "vault-key");
const canary = open(vaultKey, hex(file.canary), "canary", { tenant: "", owner: "", item: Buffer.alloc(0) });
const dataKeys = new Map(file.data_keys.map((row) => [row.key_id, unwrap(vaultKey, row, "data-key")]));
const keyOf = (envelope) => dataKeys.get(envelope.subarray(4, 36).toString("hex"));
const opened = (envelope, purpose, at) => open(keyOf(envelope), envelope, purpose, at);
const tokens = file.tokens.map((row) =>
  token(opened(hex(row.envelope), "token", { ...row, item: Buffer.from(row.connection_id) })));
const flows = file.flows.map((row) => JSON.parse(
  opened(hex(row.sealed), "state", { ...row, item: createHash("sha256").update(row.state).digest() })
    .toString("utf8").replace(/\0+$/, "")));
console.log(JSON.stringify({ canary: canary.toString(), tokens, flows }));
