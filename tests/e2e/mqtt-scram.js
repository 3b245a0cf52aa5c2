// mqtt-scram.js URL USER PASSWORD - logs in by SCRAM-SHA-256 (MQTT 5, enhanced authentication) with MQTT.js, publishes and hears one message, prints it.
const crypto = require("crypto");
const mqtt = require("mqtt");
const [url, user, password] = process.argv.slice(2);
const authenticationMethod = "SCRAM-SHA-256";
const first = `n=${user},r=${crypto.randomBytes(18).toString("base64")}`;
const hmac = (key, text) => crypto.createHmac("sha256", key).update(text).digest();
let signature;

function answer(serverFirst) {
	const [nonce, salt, iterations] = serverFirst.split(",").map((part) => part.slice(2));
	const salted = crypto.pbkdf2Sync(password, Buffer.from(salt, "base64"), Number(iterations), 32, "sha256");
	const key = hmac(salted, "Client Key");
	const final = `c=biws,r=${nonce}`;
	const all = `${first},${serverFirst},${final}`;
	const mask = hmac(crypto.createHash("sha256").update(key).digest(), all);

	signature = "v=" + hmac(hmac(salted, "Server Key"), all).toString("base64");
	return `${final},p=${Buffer.from(key.map((byte, i) => byte ^ mask[i])).toString("base64")}`;
}

const client = mqtt.connect(url, {
	protocolVersion: 5,
	clientId: "js",
	reconnectPeriod: 0,
	properties: { authenticationMethod, authenticationData: Buffer.from("n,," + first) },
});

client.handleAuth = (packet, done) => done(null, {
	cmd: "auth",
	reasonCode: 0x18,
	properties: { authenticationMethod, authenticationData: Buffer.from(answer(packet.properties.authenticationData.toString())) },
});
client.on("connect", (connack) => {
	if (connack.properties.authenticationData.toString() !== signature)
		throw new Error("the server does not know the password");
	client.subscribe("js", () => client.publish("js", "text"));
});
client.on("message", (topic, payload) => {
	console.log(`${topic} ${payload}`);
	client.end();
});
client.on("error", (error) => {
	console.error(error.message);
	process.exit(1);
});
