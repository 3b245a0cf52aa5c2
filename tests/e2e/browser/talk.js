// talk.js - what the page does: hears below `page/`, publishes a message of each QoS, and tells the test's server what came. The address of the
// broker is in the page's own.
const words = new URLSearchParams(location.search);
const client = mqtt.connect(words.get("broker"), {
	protocolVersion: Number(words.get("version")),
	protocolId: words.get("version") === "3" ? "MQIsdp" : "MQTT",
	clientId: "page",
	reconnectPeriod: 0,
});
const came = [];

function tell(what) {
	fetch("/told", { method: "POST", body: JSON.stringify(what) });
}
client.on("connect", () => client.subscribe("page/#", { qos: 2 }, () => {
	for (const qos of [0, 1, 2])
		client.publish(`page/${qos}`, `text é ${"x".repeat(qos * 70000)}`, { qos });
}));
client.on("message", (topic, payload, packet) => {
	came.push(`${topic} ${packet.qos} ${payload.length} ${payload.toString().slice(0, 8)}`);
	if (came.length === 3)
		client.end(false, {}, () => tell({ came, agent: navigator.userAgent }));
});
client.on("error", (error) => tell({ error: error.message }));
client.on("close", () => came.length === 3 || tell({ error: "closed" }));
window.addEventListener("error", (event) => tell({ error: event.message }));
