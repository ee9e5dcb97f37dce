// Reads deliveries from stdin, one JSON object a line, and says of each whether the Standard Webhooks library of npm
// takes it: {body, headers, secret} in, `true` or what is wrong with it out.

import { createInterface } from "node:readline";
import { Webhook } from "standardwebhooks";

for await (const line of createInterface({ input: process.stdin })) {
  const { body, headers, secret } = JSON.parse(line);
  let said = true;
  try {
    const event = new Webhook(secret).verify(body, headers);
    if (event.id !== headers["webhook-id"]) said = `another event: ${event.id}`;
  } catch (error) {
    said = `${error.name}: ${error.message}`;
  }
  console.log(JSON.stringify(said));
}
