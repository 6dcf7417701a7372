// What a page's threads do, by Chromium's trace: in processor time, which other programs on the machine lengthen little.

/** traced records a page during work: the tasks of each of its renderer's threads by their names, and all events, in microseconds. */
export async function traced(page, work) {
  const chromium = page.context().browser();
  await chromium.startTracing(page, { categories: ["toplevel", "devtools.timeline", "disabled-by-default-devtools.timeline"] });
  await work();
  const { traceEvents: events } = JSON.parse((await chromium.stopTracing()).toString());
  const script = (e) => String(e.args?.data?.url).endsWith("/main.js");
  const named = (name) => events.filter((e) => e.name === "thread_name" && e.args.name === name);
  const main = named("CrRendererMain").find((m) => events.some((e) => e.tid === m.tid && e.pid === m.pid && script(e)));
  const of = (threads) => events.filter((e) => e.ph === "X" && threads.some((t) => t.pid === e.pid && t.tid === e.tid));
  const tasks = (all) => all.filter((e) => e.name === "ThreadControllerImpl::RunTask");
  const onMain = of(main ? [main] : []);
  return { main: tasks(onMain), workers: tasks(of(named("DedicatedWorker thread").filter((w) => w.pid === main?.pid))), inside: (task) => onMain.filter((e) => e.ts > task.ts && e.ts < task.ts + task.dur) };
}
