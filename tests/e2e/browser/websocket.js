// websocket.js - in the place of node-ws.
module.exports = WebSocket;
