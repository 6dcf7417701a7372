// Counts the GPU devices that are opened, and on a word from the page loses the last one, or takes the adapters away.
globalThis.devices = [];
let adapters = true;
if (globalThis.GPUAdapter) {
  const requestDevice = GPUAdapter.prototype.requestDevice;
  GPUAdapter.prototype.requestDevice = async function (...args) {
    const device = await requestDevice.apply(this, args);
    globalThis.devices.push(device);
    return device;
  };
  const requestAdapter = GPU.prototype.requestAdapter;
  GPU.prototype.requestAdapter = function (...args) { return adapters ? requestAdapter.apply(this, args) : Promise.resolve(null); };
}
const channel = new BroadcastChannel("spy");
channel.onmessage = ({ data }) => {
  adapters = data.adapters ?? adapters;
  if (data.lose) globalThis.devices.at(-1).destroy();
  channel.postMessage("done");
};
