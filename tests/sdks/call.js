// Calls one Node SDK as it is told: `node call.js PACKAGE URL KEY_ID KEY_SECRET`. call.py says what it reads and writes.

const readline = require("readline");

const [sdk, host, accessKeyId, accessKeySecret] = process.argv.slice(2);
const { ManagementClient } = require(sdk);

async function main() {
  const client = new ManagementClient({ accessKeyId, accessKeySecret, host });
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const [method, parameters] = JSON.parse(line);
    const answer = client[method] ? await client[method](parameters) : null;
    process.stdout.write(JSON.stringify(answer) + "\n");
  }
}

main();
