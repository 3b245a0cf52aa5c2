// mqtt-client.js URL VERSION - hears everything below `js/`, publishes one message of each QoS there, and prints what came. MQTT.js, as Debian has it (NODE_PATH).
const mqtt = require("mqtt");
const [url, version] = [process.argv[2], Number(process.argv[3])];
const client = mqtt.connect(url, {
	protocolVersion: version,
	protocolId: version === 3 ? "MQIsdp" : "MQTT",
	clientId: "js",
	rejectUnauthorized: false,
	reconnectPeriod: 0,
});
let came = 0;

client.on("connect", () => client.subscribe("js/#", { qos: 2 }, () => {
	for (const qos of [0, 1, 2])
		client.publish(`js/${qos}`, "text", { qos });
}));
client.on("message", (topic, payload, packet) => {
	console.log(`${topic} ${packet.qos} ${payload}`);
	if (++came === 3)
		client.end();
});
client.on("error", (error) => {
	console.error(error.message);
	process.exit(1);
});
