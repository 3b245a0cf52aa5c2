// mqtt.js - the entry of a bundle: MQTT.js as Debian has it, with what it takes from node given by Debian's replacements.
globalThis.process = {
	title: "browser", // or it would not look for the browser's WebSocket
	env: {},
	nextTick: (then, ...words) => queueMicrotask(() => then(...words)),
};
globalThis.Buffer = require("buffer").Buffer;
globalThis.mqtt = require("mqtt");
