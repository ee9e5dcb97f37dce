// Receive webhooks with Node and the Standard Webhooks library.
//
//     npm install standardwebhooks
//     RAINCHECK_WEBHOOK_SECRET=whsec_… node receive_node.mjs
//
// It takes the secret of an endpoint, or for webhook_urls the one that `raincheck webhooks secret` prints.

import { createServer } from "node:http";
import { Webhook } from "standardwebhooks";

const webhook = new Webhook(process.env.RAINCHECK_WEBHOOK_SECRET);
const seen = new Set(); // With several processes: a unique column in your database.

createServer(async (request, response) => {
  const pieces = [];
  for await (const piece of request) pieces.push(piece);
  let event;
  try {
    event = webhook.verify(Buffer.concat(pieces).toString(), request.headers); // The bytes as they came.
  } catch (error) {
    return response.writeHead(400).end(error.message);
  }
  response.writeHead(204).end();
  const id = request.headers["webhook-id"];
  if (seen.has(id)) return;
  seen.add(id);
  console.log(event.type, event.data.id, event.data.status);
}).listen(process.env.PORT ?? 8000, "127.0.0.1");
