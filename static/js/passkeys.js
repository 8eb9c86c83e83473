// Passkeys and security keys: a form with data-passkey="create" or "get" asks the browser for one when it is sent, and sends
// what the browser answers as its field `credential`. Nothing inline, nothing evaluated.
"use strict";

function bytes(text) {
  const plain = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
  return Uint8Array.from(plain, (letter) => letter.charCodeAt(0));
}

function text(buffer) {
  const plain = String.fromCharCode(...new Uint8Array(buffer));
  return btoa(plain).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

// What the server asks for: bytes are written as base64url in its JSON, and wanted as bytes by the browser.
function asked({ publicKey }) {
  const named = (list) => list?.map((key) => ({ ...key, id: bytes(key.id) }));
  return {
    ...publicKey,
    challenge: bytes(publicKey.challenge),
    ...(publicKey.user && { user: { ...publicKey.user, id: bytes(publicKey.user.id) } }),
    ...(publicKey.allowCredentials && { allowCredentials: named(publicKey.allowCredentials) }),
    ...(publicKey.excludeCredentials && { excludeCredentials: named(publicKey.excludeCredentials) }),
  };
}

// And what the browser answers, the other way round.
function answered(key) {
  const response = {};
  for (const name of ["clientDataJSON", "attestationObject", "authenticatorData", "signature", "userHandle"]) {
    if (key.response[name]) response[name] = text(key.response[name]);
  }
  if (key.response.getTransports) response.transports = key.response.getTransports();
  return {
    id: key.id,
    rawId: text(key.rawId),
    type: key.type,
    authenticatorAttachment: key.authenticatorAttachment,
    clientExtensionResults: key.getClientExtensionResults(),
    response,
  };
}

async function options(form) {
  if (!form.dataset.passkeyFrom) {
    const told = JSON.parse(document.getElementById("passkey-options").textContent);
    return told.creation_options ?? told.request_options;
  }
  const answer = await fetch(form.dataset.passkeyFrom, { headers: { Accept: "application/json" } });
  if (!answer.ok) throw new Error(`The portal answered ${answer.status}.`);
  return (await answer.json()).request_options;
}

async function ceremony(form) {
  const publicKey = asked(await options(form));
  if (form.dataset.passkey === "get") return navigator.credentials.get({ publicKey });
  const alone = form.elements.passwordless.checked;
  publicKey.authenticatorSelection = {
    ...publicKey.authenticatorSelection,
    residentKey: alone ? "required" : "discouraged",
    requireResidentKey: alone,
    ...(alone && { userVerification: "required" }),
  };
  return navigator.credentials.create({ publicKey });
}

function why(error) {
  if (!window.PublicKeyCredential) return "This browser knows no passkeys, or the address of the portal is not a secure one.";
  if (error.name === "NotAllowedError") return "No key was used: it was not there, or you left it. Try again when you like.";
  if (error.name === "InvalidStateError") return "This key is one of yours already.";
  return "The key could not be used. Try again, or use another way.";
}

document.addEventListener("submit", async (event) => {
  const form = event.target.closest("form[data-passkey]");
  if (!form) return;
  event.preventDefault();
  const trouble = form.querySelector("[data-passkey-trouble]");
  trouble.hidden = true;
  try {
    form.elements.credential.value = JSON.stringify(answered(await ceremony(form)));
    form.submit();
  } catch (error) {
    trouble.textContent = why(error);
    trouble.hidden = false;
  }
});
