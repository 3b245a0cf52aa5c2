// ws-client.js URL - standard input as binary messages to a WebSocket server, what comes to standard output. Of node-ws, which is not ours.
const WebSocket = require("/usr/share/nodejs/ws"); // where Debian has it, whichever node runs
const ws = new WebSocket(process.argv[2], { rejectUnauthorized: false, perMessageDeflate: true });

ws.on("open", () => {
	process.stdin.on("data", (data) => ws.send(data, { binary: true }));
	process.stdin.on("end", () => ws.close(1000));
});
ws.on("message", (data) => process.stdout.write(data));
ws.on("close", () => process.stdin.destroy());
ws.on("error", (error) => {
	console.error(error.message);
	process.exit(1);
});
